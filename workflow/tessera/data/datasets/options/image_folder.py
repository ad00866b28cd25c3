"""What can be set of images of one's own, a folder a class."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tessera.data.datasets import listing
from tessera.data.datasets.hierarchies import HIERARCHIES, Level, unfit_levels
from tessera.data.datasets.options.base import SHOWS_PEOPLE, DatasetOptions, Word, refuse_twice
from tessera.data.labels import Kind
from tessera.registry import LATE


class ImageFolderOptions(DatasetOptions):
    """A tree of one folder a class, or an archive of one (.tar, .tar.gz, .tar.xz, .zip), read directly."""

    name: Literal["image_folder"] = "image_folder"
    path: str = Field(description="Folder or archive under `data_root`.", min_length=1)
    image_size: int = Field(ge=8, le=512, description="Images are resized (shorter side) and centre-cropped to it, px.")
    train: str | None = Field(
        "train",
        min_length=1,
        description="Folder of the training split, at any depth; null: the classes lie at the top.",
    )
    test: str | None = Field(
        "test", min_length=1, description="Folder of the test split, at any depth; null: split off `test_fraction`."
    )
    test_fraction: float = Field(0.2, gt=0, lt=1, description="Share of each class for testing, where `test` is null.")
    classes: list[str] | None = Field(
        None, min_length=1, description="Only these classes, in this order; null: all, sorted."
    )
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="Checksum that an archive must have.")
    train_fraction: float = Field(
        1.0, gt=0, le=1, description="Share of each class's training images that is kept; the test split stays whole."
    )
    seed: int = Field(0, ge=0, description="Seed of the split by fraction and of the training images that are kept.")
    packed: bool = Field(
        False,
        description="Keep the files as they are, in packed shards, and decode them when they are read: for data too "
        "large for memory.",
    )
    damaged: Literal["refuse", "skip"] = Field(
        "refuse", description="Of a file that cannot be decoded, where `packed`: end, or pass it over (1 % at most)."
    )
    shows_people: Annotated[bool, LATE] = Field(False, description=SHOWS_PEOPLE)
    hierarchy: Annotated[Literal["cifar100"] | dict[Word, dict[str, list[str]]] | None, LATE] = Field(
        None,
        description="Coarser classes: the name of a hierarchy, or, for each label column, groups of classes, as in "
        "`{kind: {animal: [cat, dog], vehicle: [car]}}`; groups are numbered by name.",
    )

    @field_validator("hierarchy")
    @classmethod
    def _in_one_order(cls, value: Any) -> Any:
        # A key does not tell in which order a mapping was written, so no label may depend on it.
        if not isinstance(value, dict):
            return value
        return {
            column: {group: sorted(level[group]) for group in sorted(level)} for column, level in sorted(value.items())
        }

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.train is not None and self.train == self.test:
            raise ValueError(f"train and test are both `{self.train}`: set `test: null` to split some images off")
        if self.damaged == "skip" and not self.packed:
            raise ValueError("damaged: skip needs packed: true")
        refuse_twice(self.classes)
        if isinstance(self.hierarchy, dict) and "class" in self.hierarchy:
            raise ValueError("hierarchy: `class` is the class itself: choose another name")
        if self.classes and (unfit := unfit_levels(self.levels(), self.classes)):
            raise ValueError(f"hierarchy: {unfit}")
        return self

    def levels(self) -> Mapping[str, Level]:
        """Label columns above the class, each with the classes of its groups."""
        return HIERARCHIES[self.hierarchy] if isinstance(self.hierarchy, str) else self.hierarchy or {}

    def label_columns(self) -> dict[str, Kind]:
        return dict.fromkeys(("class", *self.levels()), "class")

    def pixels(self) -> int:
        return self.image_size

    def has_people(self) -> bool:
        return self.shows_people

    def packs(self) -> bool:
        return self.packed

    def location(self) -> str | None:
        return self.path

    def unfit(self, path: Path) -> str | None:
        if not path.is_dir():
            return listing.unfit_archive(path)
        return listing.unfit_tree(path, self.train, self.test, self.classes, self.levels())

    def word(self) -> str:
        return Path(self.path).name.split(".")[0].lower()
