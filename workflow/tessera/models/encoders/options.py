"""What can be set of an encoder."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tessera.parts import PartOf
from tessera.registry import LATE, Options


class EncoderOptions(Options):
    """What every encoder's options know.

    Attributes:
        smallest_px: Smallest height and width of an input that the encoder takes, tiles of a puzzle included.
        narrows: Whether its maps only get smaller from the images to z.
        has_batch_norm: Whether there is a batch norm in it.
    """

    smallest_px: ClassVar[int] = 4
    narrows: ClassVar[bool] = True

    @property
    def has_batch_norm(self) -> bool:
        return True


class ResNet8Options(EncoderOptions):
    """CIFAR ResNet of one block a stage (6n+2, n = 1): small, for quick runs."""

    name: Literal["resnet8"] = "resnet8"


class ResNet26Options(EncoderOptions):
    """CIFAR ResNet of four blocks a stage (6n+2, n = 4): the paper's encoder for CIFAR."""

    name: Literal["resnet26"] = "resnet26"


class AlexNetOptions(EncoderOptions):
    """AlexNet as torchvision has it: five convolutions of 64-192-384-256-256 kernels."""

    name: Literal["alexnet"] = "alexnet"
    stride: Literal[1, 2, 4] = Field(
        4, description="Stride of the first convolution: 4 for 224 px, 2 for tiles of 64 px, 1 for less."
    )

    smallest_px: ClassVar[int] = 7  # its first kernel is 11x11, with 2 px of padding

    @property
    def has_batch_norm(self) -> bool:
        return False


class VGG16Options(EncoderOptions):
    """VGG of thirteen convolutions, as torchvision has it."""

    name: Literal["vgg16"] = "vgg16"
    width: Literal["full", "half", "quarter"] = Field(
        "full",
        description="Kernels of each convolution as a share of 64-128-256-512-512, for small machines; only `full` is "
        "the paper's, and loads into torchvision's `vgg16`.",
    )
    batch_norm: bool = Field(
        False, description="Batch normalisation after each convolution (torchvision's `vgg16_bn`); the paper has none."
    )

    @property
    def has_batch_norm(self) -> bool:
        return self.batch_norm


class SegNetOptions(EncoderOptions):
    """SegNet: VGG-16 with batch norms and its mirror image, so that z is of the images' size."""

    narrows: ClassVar[bool] = False

    name: Literal["segnet"] = "segnet"
    width: Literal["full", "half", "quarter", "eighth"] = Field(
        "full",
        description="Kernels of each convolution as a share of 64-128-256-512-512, for small machines; only `full` is "
        "the paper's. z has a share of 64 channels.",
    )


class ResNet50Options(EncoderOptions):
    """ResNet of 50 layers, as torchvision has it."""

    name: Literal["resnet50"] = "resnet50"
    stem_stride: Literal[1, 2] = Field(2, description="Stride of the first convolution; 1 for small images.")
    stem_pool: bool = Field(True, description="Max pooling after the first convolution; false for small images.")
    dilate: Annotated[bool, LATE] = Field(
        False,
        description="Dilated convolutions instead of the last two strides, so that z is an eighth of the images' size.",
    )


EncoderPart = Annotated[Options, PartOf("encoder")]
