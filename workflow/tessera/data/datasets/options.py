"""What can be set of a dataset. Torch-free: read while a plan is made."""

import difflib
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from tessera.registry import Options


class DatasetOptions(Options):
    """What every dataset says of itself before its images are read."""

    downloads: ClassVar[bool] = False

    def pixels(self) -> int:
        """Height and width of the prepared images, px."""
        raise NotImplementedError

    def location(self) -> str | None:
        """The folder or archive that must be under `data_root`; None where nothing needs to be there."""
        return None

    def missing(self, data_root: Path) -> str | None:
        """One line that says what is not there and what to do, or None. Called before any job starts."""
        location = self.location()
        if location is None or self.downloads or (data_root / location).exists():
            return None
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

    def word(self) -> str:
        """Short name for folders and tables."""
        return self.name


def _near(location: str, names: list[str]) -> str | None:
    """The archive of a folder that is missing, the folder of an archive, or a name like it."""
    stem = location.partition(".")[0].lower()
    same = [name for name in names if name.partition(".")[0].lower() == stem]
    return next(iter(same or difflib.get_close_matches(location, names, n=1)), None)


class DigitsMOptions(DatasetOptions):
    """Handwritten digits blended over photographs: embedded, nothing to download."""

    name: Literal["digits_m"] = "digits_m"
    image_size: Literal[32] = Field(32, description="Height and width, px.")
    copies: int = Field(4, ge=1, le=32, description="Blends made of each handwritten digit, each over another crop.")
    test_fraction: float = Field(0.3, gt=0, lt=1, description="Share of the handwritten digits kept for testing.")
    seed: int = Field(0, ge=0, description="Seed of the blends and of the split.")

    def pixels(self) -> int:
        return self.image_size


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
    seed: int = Field(0, ge=0, description="Seed of the split by fraction.")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.train is not None and self.train == self.test:
            raise ValueError(f"train and test are both `{self.train}`: set `test: null` to split some images off")
        twice = [name for number, name in enumerate(self.classes or []) if name in (self.classes or [])[:number]]
        if twice:
            raise ValueError(f"classes names `{twice[0]}` twice")
        return self

    def pixels(self) -> int:
        return self.image_size

    def location(self) -> str | None:
        return self.path

    def word(self) -> str:
        return Path(self.path).name.split(".")[0].lower()


class TorchvisionOptions(DatasetOptions):
    """A dataset of torchvision, found under `data_root` or downloaded to it."""

    downloads: ClassVar[bool] = True


class Cifar10Options(TorchvisionOptions):
    """CIFAR-10: 50,000 training and 10,000 test images of 10 classes, 32 px."""

    name: Literal["cifar10"] = "cifar10"

    def pixels(self) -> int:
        return 32


class Cifar100Options(TorchvisionOptions):
    """CIFAR-100: 50,000 training and 10,000 test images of 100 classes, 32 px."""

    name: Literal["cifar100"] = "cifar100"

    def pixels(self) -> int:
        return 32


class Stl10Options(TorchvisionOptions):
    """STL-10: 5,000 training, 8,000 test and 100,000 unlabelled images, 10 classes, 96 px."""

    name: Literal["stl10"] = "stl10"
    unlabeled: bool = Field(False, description="Take the 100,000 unlabelled images in as well.")

    def pixels(self) -> int:
        return 96


class C10sOptions(TorchvisionOptions):
    """C10s: a fixed, class-balanced fifth of CIFAR-10 (paper, section 4.1 and Table 1)."""

    name: Literal["c10s"] = "c10s"
    fraction: float = Field(0.2, gt=0, le=1, description="Share of each class of each split.")
    test: Literal["sampled", "full"] = Field("sampled", description="Test on the same share, or on all 10,000 images.")
    seed: int = Field(0, ge=0, description="Seed of the draw: fixed, so that all methods see the same images.")

    def pixels(self) -> int:
        return 32
