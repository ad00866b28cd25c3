"""What can be set of a dataset. Torch-free: read while a plan is made."""

import difflib
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tessera.data.datasets import listing
from tessera.data.labels import Kind
from tessera.parts import PartOf
from tessera.registry import Options


class DatasetOptions(Options):
    """What every dataset says of itself before its images are read."""

    downloads: ClassVar[bool] = False

    def pixels(self) -> int:
        """Height and width of the prepared images, px."""
        raise NotImplementedError

    def label_columns(self) -> dict[str, Kind]:
        """The labels of its images, by name; `class` is the one that is read where none is named."""
        return {"class": "class"}

    def location(self) -> str | None:
        """The folder or archive that must be under `data_root`; None where nothing needs to be there."""
        return None

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


def _refuse_twice(classes: list[str] | None) -> None:
    twice = [name for number, name in enumerate(classes or []) if name in (classes or [])[:number]]
    if twice:
        raise ValueError(f"classes names `{twice[0]}` twice")


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

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.train is not None and self.train == self.test:
            raise ValueError(f"train and test are both `{self.train}`: set `test: null` to split some images off")
        if self.damaged == "skip" and not self.packed:
            raise ValueError("damaged: skip needs packed: true")
        _refuse_twice(self.classes)
        return self

    def pixels(self) -> int:
        return self.image_size

    def packs(self) -> bool:
        return self.packed

    def location(self) -> str | None:
        return self.path

    def unfit(self, path: Path) -> str | None:
        if not path.is_dir():
            return listing.unfit_archive(path)
        return listing.unfit_tree(path, self.train, self.test, self.classes)

    def word(self) -> str:
        return Path(self.path).name.split(".")[0].lower()


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

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.train == self.test:
            raise ValueError(f"train and test are both `{self.train}`: set `test: null` to split some images off")
        _refuse_twice(self.classes)
        return self

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


class DigitsScenesOptions(DatasetOptions):
    """Handwritten digits of many sizes on photographs, marked by boxes: embedded, nothing to download."""

    name: Literal["digits_scenes"] = "digits_scenes"
    image_size: int = Field(128, ge=64, le=512, description="Height and width, px.")
    num_train: int = Field(1000, ge=1, le=100_000, description="Training images.")
    num_test: int = Field(200, ge=1, le=100_000, description="Test images.")
    seed: int = Field(0, ge=0, description="Seed of the scenes and of the digits that are kept for testing.")

    def label_columns(self) -> dict[str, Kind]:
        return {"objects": "boxes"}

    def pixels(self) -> int:
        return self.image_size

    def packs(self) -> bool:
        return True


class TorchvisionOptions(DatasetOptions):
    """A dataset of torchvision, found under `data_root` or downloaded to it."""

    downloads: ClassVar[bool] = True
    image_size: int = Field(
        32, ge=8, le=512, description="Images are resized to it where it is not their own size, px."
    )

    def pixels(self) -> int:
        return self.image_size


class Cifar10Options(TorchvisionOptions):
    """CIFAR-10: 50,000 training and 10,000 test images of 10 classes, 32 px."""

    name: Literal["cifar10"] = "cifar10"


class Cifar100Options(TorchvisionOptions):
    """CIFAR-100: 50,000 training and 10,000 test images of 100 classes, 32 px."""

    name: Literal["cifar100"] = "cifar100"


class Stl10Options(TorchvisionOptions):
    """STL-10: 5,000 training, 8,000 test and 100,000 unlabelled images, 10 classes, 96 px."""

    name: Literal["stl10"] = "stl10"
    image_size: int = Field(
        96, ge=8, le=512, description="Images are resized to it where it is not their own size, px."
    )
    unlabeled: bool = Field(False, description="Take the 100,000 unlabelled images in as well.")


class C10sOptions(TorchvisionOptions):
    """C10s: a fixed, class-balanced fifth of CIFAR-10 (paper, section 4.1 and Table 1)."""

    name: Literal["c10s"] = "c10s"
    fraction: float = Field(0.2, gt=0, le=1, description="Share of each class of each split.")
    test: Literal["sampled", "full"] = Field("sampled", description="Test on the same share, or on all 10,000 images.")
    seed: int = Field(0, ge=0, description="Seed of the draw: fixed, so that all methods see the same images.")


class LicensedOptions(DatasetOptions):
    """A dataset that must be asked for, put by hand into a folder under `data_root`, and kept in packed shards."""

    site: ClassVar[str]
    layout: ClassVar[str]

    path: str = Field(description="Folder under `data_root`.", min_length=1)
    image_size: int = Field(
        256, ge=32, le=512, description="Images are decoded to it: shorter side resized, middle cut out, px."
    )
    damaged: Literal["refuse", "skip"] = Field(
        "refuse", description="Of a file that cannot be decoded: end, or pass it over (1 % at most)."
    )

    def pixels(self) -> int:
        return self.image_size

    def packs(self) -> bool:
        return True

    def location(self) -> str | None:
        return self.path

    def missing(self, data_root: Path) -> str | None:
        if (data_root / self.path).is_dir():
            return None
        return (
            f"dataset `{self.name}`: no folder `{self.path}` under data_root `{data_root}`. The data are licensed: get "
            f"them from {self.site}, and put them into {data_root / self.path} as {self.layout}. "
            "(`data_root` is set in config/config.yaml, or by the variable TESSERA_DATA.)"
        )


class ImagenetOptions(LicensedOptions):
    """ILSVRC2012: 1,281,167 training and 50,000 validation images of 1,000 classes; the latter are the test split."""

    site: ClassVar[str] = "https://image-net.org/download-images (ILSVRC2012)"
    layout: ClassVar[str] = (
        "`train/<wnid>/*.JPEG` and `val/<wnid>/*.JPEG`, with `meta.bin` or `ILSVRC2012_devkit_t12.tar.gz` beside them "
        "if you have it"
    )

    name: Literal["imagenet"] = "imagenet"
    path: str = Field("imagenet", description="Folder under `data_root`.", min_length=1)


class Places365Options(LicensedOptions):
    """Places365-Standard: 1,803,460 training images and, as test split, 36,500 validation images of 365 scenes."""

    site: ClassVar[str] = "http://places2.csail.mit.edu/download.html (Places365-Standard)"
    layout: ClassVar[str] = (
        "`categories_places365.txt`, `places365_train_standard.txt`, `places365_val.txt` (of the archive "
        "filelist_places365-standard.tar), `data_256_standard/` and `val_256/` (`data_large_standard/` and "
        "`val_large/` with `small: false`)"
    )

    name: Literal["places365"] = "places365"
    path: str = Field("places365", description="Folder under `data_root`.", min_length=1)
    small: bool = Field(True, description="Read the images of 256 x 256 px, not the large ones.")


DatasetPart = Annotated[DatasetOptions, PartOf("dataset")]
