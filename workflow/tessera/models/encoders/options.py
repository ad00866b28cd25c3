"""What can be set of an encoder."""

import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, field_validator

from tessera.errors import brief
from tessera.parts import PartOf
from tessera.registry import LATE, Options

# Of VGG, by depth: how many convolutions each block has.
VGG_BLOCKS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def _convolutions(blocks: tuple[int, ...]) -> list[str]:
    """Names of the convolutions' maps, by how many each block has."""
    return [f"conv{block}_{i}" for block, number in enumerate(blocks, start=1) for i in range(1, number + 1)]


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

    @property
    def layers(self) -> tuple[str, ...]:
        """Its `layer_channels` by name, from the input on; empty where only the encoder itself knows them."""
        return ()

    @property
    def strides(self) -> Mapping[str, int]:
        """Of these layers, how many px of an image's height and width one of the map stands for, the last one for what
        is left; empty where only the encoder itself knows them."""
        return {}


class _StridedOptions(EncoderOptions):
    """Of networks whose maps get smaller by padded strides alone."""

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self.strides)


class _StageOptions(_StridedOptions):
    """Of three stages behind a stem."""

    @property
    def strides(self) -> Mapping[str, int]:
        return {"stem": 1, "stage1": 1, "stage2": 2, "stage3": 4}


class _TorchvisionOptions(_StridedOptions):
    """Of torchvision's residual networks."""

    @property
    def strides(self) -> Mapping[str, int]:
        stem, layer1 = self._first_strides()
        return {"stem": stem, "layer1": layer1, "layer2": 2 * layer1, "layer3": 4 * layer1, "layer4": 8 * layer1}

    def _first_strides(self) -> tuple[int, int]:
        """Of the stem, and of the first stage, before which there may be pooling."""
        raise NotImplementedError


class ResNet8Options(_StageOptions):
    """CIFAR ResNet of one block a stage (6n+2, n = 1): small, for quick runs."""

    name: Literal["resnet8"] = "resnet8"

    depth: ClassVar[int] = 8
    width: ClassVar[int] = 1


class ResNet26Options(_StageOptions):
    """CIFAR ResNet of four blocks a stage (6n+2, n = 4): the paper's encoder for CIFAR."""

    name: Literal["resnet26"] = "resnet26"

    depth: ClassVar[int] = 26
    width: ClassVar[int] = 1


def _whole_blocks(depth: int, period: int, rest: int) -> int:
    """A depth of n blocks a stage, period x n + rest layers.

    Raises:
        ValueError: If no n gives it; the message names the nearest that are.
    """
    if over := (depth - rest) % period:
        near = [near for near in (depth - over, depth - over + period) if near > rest]
        raise ValueError(f"should be {period}n + {rest}, such as {' or '.join(map(str, near))}, but is {depth}")
    return depth


class CifarResNetOptions(_StageOptions):
    """CIFAR ResNet of any depth: three stages of n basic blocks, 16, 32 and 64 kernels times the width."""

    name: Literal["cifar_resnet"] = "cifar_resnet"
    depth: int = Field(20, ge=8, le=1202, description="Layers with weights, the classifier's among them: 6n + 2.")
    width: int = Field(1, ge=1, le=16, description="By how much the stages are wider; 4 in `resnet8x4` (CRD).")

    @field_validator("depth")
    @classmethod
    def _n_blocks_a_stage(cls, depth: int) -> int:
        return _whole_blocks(depth, 6, 2)


class WideResNetOptions(_StageOptions):
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

    @property
    def layers(self) -> tuple[str, ...]:
        return ("conv1", "conv2", "conv3", "conv4", "conv5", "pool5")


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

    @property
    def layers(self) -> tuple[str, ...]:
        return (*_convolutions(VGG_BLOCKS[16]), "pool5")


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

    @property
    def layers(self) -> tuple[str, ...]:
        return (*_convolutions(VGG_BLOCKS[self.depth]), *(("pool5",) if self.pools == 5 else ()))


class SegNetOptions(EncoderOptions):
    """SegNet: VGG-16 with batch norms and its mirror image, so that z is of the images' size."""

    narrows: ClassVar[bool] = False

    name: Literal["segnet"] = "segnet"
    width: Literal["full", "half", "quarter", "eighth"] = Field(
        "full",
        description="Kernels of each convolution as a share of 64-128-256-512-512, for small machines; only `full` is "
        "the paper's. z has a share of 64 channels.",
    )

    @property
    def layers(self) -> tuple[str, ...]:
        up = [f"dec{b}_{i}" for b in range(5, 0, -1) for i in range(1, VGG_BLOCKS[16][b - 1] + 1)]
        return (*_convolutions(VGG_BLOCKS[16]), *up)


class ResNet18Options(_TorchvisionOptions):
    """ResNet of 18 layers, with a stem for small images, or as torchvision has it."""

    name: Literal["resnet18"] = "resnet18"
    stem: Literal["3x3", "7x7"] = Field(
        "3x3",
        description="`3x3`: one convolution of stride 1, no pooling, for images of 32 or 64 px; `7x7`: torchvision's, "
        "of stride 2 and pooled, for larger ones.",
    )

    def _first_strides(self) -> tuple[int, int]:
        return (1, 1) if self.stem == "3x3" else (2, 4)


class ResNet50Options(_TorchvisionOptions):
    """ResNet of 50 layers, as torchvision has it."""

    name: Literal["resnet50"] = "resnet50"
    stem_stride: Literal[1, 2] = Field(2, description="Stride of the first convolution; 1 for small images.")
    stem_pool: bool = Field(True, description="Max pooling after the first convolution; false for small images.")
    dilate: Annotated[bool, LATE] = Field(
        False,
        description="Dilated convolutions instead of the last two strides, so that z is an eighth of the images' size.",
    )

    @property
    def strides(self) -> Mapping[str, int]:
        undilated = super().strides
        return {**undilated, **(dict.fromkeys(("layer3", "layer4"), undilated["layer2"]) if self.dilate else {})}

    def _first_strides(self) -> tuple[int, int]:
        return self.stem_stride, self.stem_stride * (2 if self.stem_pool else 1)


class TimmOptions(EncoderOptions):
    """A convolutional network of timm, by its `features_only` interface; needs the extra `timm`."""

    name: Literal["timm"] = "timm"
    model: str = Field(
        pattern=r"^[A-Za-z0-9_.]+$",
        max_length=100,
        description="Name of the network in timm, such as `resnet18` or `convnext_atto`, without a source before it: "
        "no file is fetched. Weights of a file are `source.weights`.",
    )

    @property
    def smallest_px(self) -> int:  # type: ignore[override]
        return _of_timm(self.model).smallest_px

    @property
    def has_batch_norm(self) -> bool:
        return _of_timm(self.model).has_batch_norm

    def clashes(self, whole: Any) -> Iterator[str]:
        yield from super().clashes(whole)
        dataset = whole.dataset if hasattr(whole, "dataset") else whole.target.dataset
        if (wrong := _of_timm(self.model).wrong or _wrong_with(self.model, *dataset.shape())) is not None:
            yield wrong


class _OfTimm(NamedTuple):
    """What is known of a model of timm: why it cannot be an encoder, if it cannot, and what its options say."""

    wrong: str | None
    smallest_px: int = EncoderOptions.smallest_px
    has_batch_norm: bool = True


@cache
def _of_timm(model: str) -> _OfTimm:
    # Imported here alone: it takes seconds, which no plan spends whose studies name no model of timm.
    if find_spec("timm") is None:
        return _OfTimm(
            "encoder `timm` needs the package timm, which is not installed: pip install -e '.[timm]', or choose "
            "another encoder"
        )
    try:
        features = import_module("tessera.models.encoders.timm_features")
    except Exception as error:  # of versions that do not fit together
        what = brief(" ".join(str(error).split()), 200)
        return _OfTimm(f"encoder `timm`: the package timm cannot be imported ({what}): pip install -e '.[timm]'")
    if not features.timm.is_model(model):
        near = difflib.get_close_matches(model, features.timm.list_models(), n=3)
        words = f"Nearest: {', '.join(f'`{name}`' for name in near)}" if near else "`timm.list_models()` names all"
        return _OfTimm(f"encoder.model: timm {features.timm.__version__} has no model `{model}`. {words}")
    wrong, smallest, normed = features.examine(model)
    if wrong is not None:
        wrong = (
            f"encoder.model: `{model}` {wrong}: choose a convolutional network of timm, such as `resnet18` or "
            "`convnext_atto`"
        )
    return _OfTimm(wrong, smallest or EncoderOptions.smallest_px, normed)


@cache
def _wrong_with(model: str, height: int, width: int) -> str | None:
    """Why a model of timm that is one takes no images of this size; None where it does."""
    features = import_module("tessera.models.encoders.timm_features")
    wrong = features.wrong_with(model, height, width)
    if not wrong:
        return None
    return (
        f"encoder.model: `{model}` of timm takes no images of {height} x {width} px ({wrong}): set another size of the "
        "dataset's images, or choose another model"
    )


EncoderPart = Annotated[Options, PartOf("encoder")]
