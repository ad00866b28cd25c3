"""What the tests of sharing have in common: every way of sharing, and an encoder in stages that takes a moment."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from tessera import registry
from tessera.models.encoders.base import Encoder, Kept, StagedEncoder, Walk
from tessera.models.encoders.cifar_resnet import ResNet8
from tessera.models.encoders.options import EncoderOptions, ResNet8Options, SegNetOptions
from tessera.models.encoders.segnet import SegNet
from tessera.multitask.sharing.base import Sharing

TASKS = ["a", "b.c"]
# All of the table, and what is set otherwise of some; the encoder is one in stages.
WAYS: dict[str, Any] = {
    **{name: name for name in registry.parts("sharing")},
    "mtan, thesis": {"name": "mtan", "residual": True, "kernel": 3, "transitions": "own"},
    "depthwise": {"name": "model_patch", "kind": "depthwise"},
}


STAGES = "sharing_stand_ins:Stages"


class Stages(StagedEncoder):
    """Two convolutions with batch norms, each a stage; the second one's map, of 6 channels and half the size, is z."""

    Options = type("StagesOptions", (EncoderOptions,), {"__annotations__": {"name": str}})
    layer_channels: ClassVar[dict[str, int]] = {"first": 4, "second": 6}
    inner_channels: ClassVar[dict[str, int]] = {"second.in": 4}
    fusion_convolutions: ClassVar[dict[str, tuple[str, ...]]] = {
        "conv_before_pool": ("conv1",),
        "stage_last": ("conv1", "conv2"),
    }

    def __init__(self, options: Any = None) -> None:
        super().__init__()
        self.options = options
        self.conv1, self.norm1 = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(6)

    def walks(self) -> Mapping[str, Walk]:
        return {"first": self._first, "second": self._second}

    def _first(self, images: Tensor, kept: Kept) -> Iterator[tuple[str, Tensor]]:
        kept["images"] = images
        yield "first", self.norm1(self.conv1(images)).relu()

    def _second(self, images: Tensor, kept: Kept) -> Iterator[tuple[str, Tensor]]:
        inner = images[:, :, ::2, ::2] + kept["images"].mean()
        yield "second.in", inner
        yield "second", (self.norm2(self.conv2(images)) + inner.mean(dim=1, keepdim=True)).relu()

    @property
    def stage_pairs(self) -> dict[str, Sequence[tuple[str, str]]]:
        return {"across_stage": [("first", "second")], "within_stage": [("first", "first"), ("second.in", "second")]}


def resnet8() -> ResNet8:
    return ResNet8(ResNet8Options())


def segnet() -> SegNet:
    return SegNet(SegNetOptions(width="eighth"))


def sharing_of(way: Any, encoder: Encoder, tasks: list[str] = TASKS, **options: Any) -> Any:
    """A way of sharing, by its name."""
    build: Any = type(encoder)
    found = registry.find("sharing", way)
    made: Sharing = registry.load("sharing", way)(
        found.options(name=way, **options), encoder, tasks, lambda: build(encoder.options)
    )
    return made
