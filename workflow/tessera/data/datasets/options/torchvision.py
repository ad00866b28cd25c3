"""What can be set of the datasets that torchvision finds or downloads."""

from typing import ClassVar, Literal

from pydantic import Field

from tessera.data.datasets.hierarchies import HIERARCHIES
from tessera.data.datasets.options.base import DatasetOptions
from tessera.data.labels import Kind


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

    def label_columns(self) -> dict[str, Kind]:
        return dict.fromkeys(("class", *HIERARCHIES["cifar100"]), "class")


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

    def origin(self) -> str:
        return "cifar10"
