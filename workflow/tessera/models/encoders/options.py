"""What can be set of an encoder."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

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

    depth: ClassVar[int] = 8


class ResNet26Options(EncoderOptions):
    """CIFAR ResNet of four blocks a stage (6n+2, n = 4): the paper's encoder for CIFAR."""

    name: Literal["resnet26"] = "resnet26"

    depth: ClassVar[int] = 26


def _whole_blocks(depth: int, period: int, rest: int) -> int:
    """A depth of n blocks a stage, period x n + rest layers.

    Raises:
        ValueError: If no n gives it; the message names the nearest that are.
    """
    if over := (depth - rest) % period:
        near = [near for near in (depth - over, depth - over + period) if near > rest]
        raise ValueError(f"should be {period}n + {rest}, such as {' or '.join(map(str, near))}, but is {depth}")
    return depth


class CifarResNetOptions(EncoderOptions):
    """CIFAR ResNet of any depth: three stages of n basic blocks, 16, 32 and 64 kernels wide."""

    name: Literal["cifar_resnet"] = "cifar_resnet"
    depth: int = Field(20, ge=8, le=1202, description="Layers with weights, the classifier's among them: 6n + 2.")

    @field_validator("depth")
    @classmethod
    def _n_blocks_a_stage(cls, depth: int) -> int:
        return _whole_blocks(depth, 6, 2)


class WideResNetOptions(EncoderOptions):
    """Wide ResNet: three stages of pre-activation blocks, 16, 32 and 64 kernels times the width."""

    name: Literal["wide_resnet"] = "wide_resnet"
    depth: int = Field(
        16, ge=10, le=1000, description="Convolutions on the way through the blocks, stem and classifier: 6n + 4."
    )
    width: int = Field(1, ge=1, le=20, description="By how much the stages are wider than those of a ResNet.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout between the two convolutions of each block.")

    @field_validator("depth")
    @classmethod
    def _n_blocks_a_stage(cls, depth: int) -> int:
        return _whole_blocks(depth, 6, 4)


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


class VGGOptions(EncoderOptions):
    """VGG of any depth with batch norms, and as many pooled blocks as small images need."""

    name: Literal["vgg"] = "vgg"
    depth: Literal[8, 11, 13, 16, 19] = Field(
        13, description="Convolutions, and three more: as many layers as the paper's networks have; 8 is that of CRD."
    )
    pools: Literal[3, 4, 5] = Field(
        3,
        description="How many of the five blocks end with max pooling, from the first on: 3 for images of 32 px, 4 "
        "of 64 px, 5 as in the paper.",
    )


class SegNetOptions(EncoderOptions):
    """SegNet: VGG-16 with batch norms and its mirror image, so that z is of the images' size."""

    narrows: ClassVar[bool] = False

    name: Literal["segnet"] = "segnet"
    width: Literal["full", "half", "quarter", "eighth"] = Field(
        "full",
        description="Kernels of each convolution as a share of 64-128-256-512-512, for small machines; only `full` is "
        "the paper's. z has a share of 64 channels.",
    )


class ResNet18Options(EncoderOptions):
    """ResNet of 18 layers, with a stem for small images, or as torchvision has it."""

    name: Literal["resnet18"] = "resnet18"
    stem: Literal["3x3", "7x7"] = Field(
        "3x3",
        description="`3x3`: one convolution of stride 1, no pooling, for images of 32 or 64 px; `7x7`: torchvision's, "
        "of stride 2 and pooled, for larger ones.",
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
