"""What can be set of datasets in Pascal VOC form."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tessera.data.datasets import listing
from tessera.data.datasets.options.base import SHOWS_PEOPLE, DatasetOptions, refuse_twice
from tessera.data.labels import Kind
from tessera.registry import LATE


class BoxesOptions(DatasetOptions):
    """Images of all sizes in which objects are marked by boxes, kept in packed shards as they are."""

    image_size: int = Field(
        300,
        ge=32,
        le=512,
        description="Where it is a source, its images are decoded to it: shorter side resized, middle cut out, px. A "
        "detector gets whole images, at their own size.",
    )
    damaged: Literal["refuse", "skip"] = Field(
        "skip",
        description="Of an object, annotation or image that cannot be used: pass it over, with a line in the log that "
        "says why, or end. `strict` ends in any case.",
    )

    def label_columns(self) -> dict[str, Kind]:
        return {"objects": "boxes"}

    def pixels(self) -> int:
        return self.image_size

    def packs(self) -> bool:
        return True


class VocFolderOptions(BoxesOptions):
    """A tree in Pascal VOC form, or an archive of one (.tar, .tar.gz, .tar.xz, .zip), read directly."""

    name: Literal["voc_folder"] = "voc_folder"
    path: str = Field(
        description="Folder or archive under `data_root` that holds, at any depth, `Annotations/*.xml`, "
        "`JPEGImages/*` and maybe `ImageSets/Main/*.txt`.",
        min_length=1,
    )
    train: str = Field(
        "trainval",
        min_length=1,
        description="List of the training images in `ImageSets/Main`; all annotated images where there are no lists.",
    )
    test: str | None = Field(
        "test",
        min_length=1,
        description="List of the test images; null, or where there are no lists: split off `test_fraction`.",
    )
    test_fraction: float = Field(0.2, gt=0, lt=1, description="Share of the images for testing, where it is split off.")
    classes: list[str] | None = Field(
        None, min_length=1, description="Names of the classes, in this order; null: all that occur, sorted."
    )
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="Checksum that an archive must have.")
    seed: int = Field(0, ge=0, description="Seed of the split by fraction.")
    shows_people: Annotated[bool, LATE] = Field(False, description=SHOWS_PEOPLE)

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.train == self.test:
            raise ValueError(f"train and test are both `{self.train}`: set `test: null` to split some images off")
        refuse_twice(self.classes)
        return self

    def has_people(self) -> bool:
        return self.shows_people

    def location(self) -> str | None:
        return self.path

    def unfit(self, path: Path) -> str | None:
        if not path.is_dir():
            return listing.unfit_archive(path)
        return listing.unfit_voc(path, self.train, self.test)

    def word(self) -> str:
        return Path(self.path).name.split(".")[0].lower()


class Voc0712Options(BoxesOptions):
    """Pascal VOC 2007 and 2012: trainval of both for training (16,551 images), test of 2007 (4,952), 20 classes."""

    downloads: ClassVar[bool] = True

    name: Literal["voc0712"] = "voc0712"
