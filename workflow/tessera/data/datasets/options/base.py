"""What every dataset says of itself before its images are read. Torch-free: read while a plan is made."""

import difflib
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from tessera.data.labels import Kind
from tessera.parts import PartOf
from tessera.registry import LATE, Options

Word = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$", max_length=60)]

SHOWS_PEOPLE = "The images show persons: none of them is drawn, in no picture of any artifact or page."


class DatasetOptions(Options):
    """What every dataset says of itself before its images are read."""

    downloads: ClassVar[bool] = False
    carried: ClassVar[tuple[str, ...]] = ("within",)

    within: Annotated[Literal["all", "train"], LATE] = Field(
        "all",
        description="`train`: the training images alone, a fifth of them held out for testing, so that settings are "
        "chosen without a test image; a source of the same images says it too.",
    )

    def pixels(self) -> int:
        """Height and width of the prepared images, px; of unequal sides the shorter one."""
        raise NotImplementedError

    def shape(self) -> tuple[int, int]:
        """Height and width of the prepared images, px."""
        return self.pixels(), self.pixels()

    def label_columns(self) -> dict[str, Kind]:
        """The labels of its images, by name; `class` is the one that is read where none is named."""
        return {"class": "class"}

    @classmethod
    def kinds(cls) -> set[Kind]:
        """Kinds of labels that its images may have, whatever else is set."""
        return set(cls.model_construct(name="").label_columns().values())

    def location(self) -> str | None:
        """The folder or archive that must be under `data_root`; None where nothing needs to be there."""
        return None

    def origin(self) -> str:
        """What its images are taken from: datasets of one origin may share some."""
        return self.location() or str(self.name)

    def missing(self, data_root: Path) -> str | None:
        """One line that says what is not there and what to do, or None. Called before any job starts."""
        location = self.location()
        if location is None or self.downloads:
            return None
        if (data_root / location).exists():
            unfit = self.unfit(data_root / location)
            return None if unfit is None else f"dataset `{self.name}`: {unfit}"
        if not data_root.is_dir():
            return (
                f"dataset `{self.name}`: no folder `{data_root}` to find `{location}` in. "
                "Set `data_root` in config/config.yaml, or the variable TESSERA_DATA."
            )
        near = _near(location, sorted(path.name for path in data_root.iterdir() if not path.name.startswith(".")))
        return f"dataset `{self.name}`: no `{location}` under data_root `{data_root}`. " + (
            f"Did you mean `{near}`?"
            if near
            else "Put it there, or set `data_root` in config/config.yaml or the variable TESSERA_DATA."
        )

    def unfit(self, path: Path) -> str | None:
        """Why what is there cannot be read, as far as a listing tells; None where it may be."""
        return None

    def packs(self) -> bool:
        """Whether the files are kept as they are, in packed shards; they are many, then."""
        return False

    def has_people(self) -> bool:
        """Whether its images show persons: none of them is drawn then, in no picture of any artifact or page."""
        return False

    def word(self) -> str:
        """Short name for folders and tables."""
        return self.name

    def strict(self) -> Self:
        """The same options, but what is damaged ends the preparation."""
        skips = getattr(self, "damaged", None) == "skip"
        return self.model_copy(update={"damaged": "refuse"}) if skips else self


def _near(location: str, names: list[str]) -> str | None:
    """The archive of a folder that is missing, the folder of an archive, or a name like it."""
    stem = location.partition(".")[0].lower()
    same = [name for name in names if name.partition(".")[0].lower() == stem]
    if same:
        return same[0]
    # Stems alone: two archives are no more alike for both being `.tar.xz`.
    stems = {name.partition(".")[0].lower(): name for name in reversed(names)}
    return next((stems[near] for near in difflib.get_close_matches(stem, stems, n=1)), None)


def refuse_twice(classes: list[str] | None) -> None:
    """Raises ValueError where a class is named twice."""
    twice = [name for number, name in enumerate(classes or []) if name in (classes or [])[:number]]
    if twice:
        raise ValueError(f"classes names `{twice[0]}` twice")


DatasetPart = Annotated[DatasetOptions, PartOf("dataset")]
