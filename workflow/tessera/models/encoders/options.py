"""What can be set of an encoder."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tessera.parts import PartOf
from tessera.registry import Options


class EncoderOptions(Options):
    """What every encoder's options know.

    Attributes:
        smallest_px: Smallest height and width of an input that the encoder takes, tiles of a puzzle included.
    """

    smallest_px: ClassVar[int] = 4


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


class ResNet50Options(EncoderOptions):
    """ResNet of 50 layers, as torchvision has it."""

    name: Literal["resnet50"] = "resnet50"
    stem_stride: Literal[1, 2] = Field(2, description="Stride of the first convolution; 1 for small images.")
    stem_pool: bool = Field(True, description="Max pooling after the first convolution; false for small images.")


EncoderPart = Annotated[Options, PartOf("encoder")]
