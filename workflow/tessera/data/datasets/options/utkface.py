"""What can be set of UTKFace, and what its files' names say. Torch-free: read while a plan is made."""

import re
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field

from tessera.data.datasets import listing
from tessera.data.datasets.layout import is_image
from tessera.data.datasets.options.base import DatasetOptions
from tessera.data.labels import Kind

AGES = ("0-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60+")
GENDERS = ("male", "female")
ETHNICITIES = ("White", "Black", "Asian", "Indian", "Others")
OLDEST = 116  # years, in the dataset
PATTERN = re.compile(r"(\d{1,9})_(\d{1,9})_(\d{1,9})_\d+(\.[A-Za-z]+)+", re.ASCII)


class Face(NamedTuple):
    """What a name says: a label of `AGES`, of `GENDERS` and of `ETHNICITIES`."""

    age: int
    gender: int
    ethnicity: int


def read_name(name: str) -> Face | str:
    """Labels of a file by its name, `<age>_<gender>_<race>_<date>.jpg`, or why it has none.

    >>> read_name("26_1_3_20170116184028385.jpg.chip.jpg")
    Face(age=2, gender=1, ethnicity=3)
    >>> read_name("61_1_20170109142408075.jpg.chip.jpg")
    'not named `<age>_<gender>_<race>_<date>.jpg`'
    """
    found = PATTERN.fullmatch(name)
    if found is None:
        return "not named `<age>_<gender>_<race>_<date>.jpg`"
    age, gender, ethnicity = (int(found[group]) for group in (1, 2, 3))
    for what, value, most in (
        ("age", age, OLDEST), ("gender", gender, len(GENDERS) - 1), ("race", ethnicity, len(ETHNICITIES) - 1),
    ):  # fmt: skip
        if value > most:
            return f"its name says {what} {value}, and the most is {most}"
    return Face(min(age // 10, len(AGES) - 1), gender, ethnicity)


class UtkfaceOptions(DatasetOptions):
    """UTKFace: some 23,700 faces with age, gender and ethnicity. What it shows is never drawn."""

    SITE: ClassVar[str] = "https://susanqq.github.io/UTKFace (Aligned&Cropped Faces)"

    name: Literal["utkface"] = "utkface"
    path: str = Field(
        "UTKFace", description="Folder of the faces, or an archive of it, under `data_root`.", min_length=1
    )
    image_size: int = Field(
        64, ge=8, le=512, description="Images are resized (shorter side) and centre-cropped to it, px."
    )
    test_fraction: float = Field(0.2, gt=0, lt=1, description="Share of the faces of each age kept for testing.")
    seed: int = Field(0, ge=0, description="Seed of the split.")

    def label_columns(self) -> dict[str, Kind]:
        return dict.fromkeys(("class", *Face._fields), "class")

    def has_people(self) -> bool:
        return True

    def pixels(self) -> int:
        return self.image_size

    def location(self) -> str | None:
        return self.path

    def missing(self, data_root: Path) -> str | None:
        line = super().missing(data_root)
        if line is None or (data_root / self.path).exists():
            return line
        return (
            f"{line} The faces are available for non-commercial research purposes only, and are not downloaded: get "
            f"them from {self.SITE}, and put there the folder of all `<age>_<gender>_<race>_<date>.jpg.chip.jpg`, or "
            "an archive of it, whose name is `path`."
        )

    def unfit(self, path: Path) -> str | None:
        if not path.is_dir():
            return listing.unfit_archive(path)
        return listing.unfit_names(
            path,
            lambda parts: is_image(parts) and isinstance(read_name(parts[-1]), Face),
            "no image named `<age>_<gender>_<race>_<date>.jpg`",
        )
