"""A user's own small encoder and tasks, named in a study as `multitask_stand_ins:Class`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.data.store import Dataset, Split
from tessera.models.encoders.base import Encoder
from tessera.models.encoders.options import EncoderOptions
from tessera.multitask.source import Source
from tessera.tasks.base import Task, TaskBatch
from tessera.tasks.options.base import TaskOptions

ENCODER = "multitask_stand_ins:TinyEncoder"
UNITS = "multitask_stand_ins:UnitsEncoder"
TURN = "multitask_stand_ins:Turn"
BRIGHTNESS = "multitask_stand_ins:Brightness"
CONTRAST = "multitask_stand_ins:Contrast"


class TinyEncoder(Encoder):
    """Two convolutions with batch norms: z has 6 channels, a quarter of the size."""

    Options = type("TinyOptions", (EncoderOptions,), {"__annotations__": {"name": str}})
    fusion_convolutions: ClassVar[dict[str, tuple[str, ...]]] = {
        "conv_before_pool": ("conv1",),
        "stage_last": ("conv2",),
    }

    def __init__(self, options: Any = None) -> None:
        super().__init__()
        self.layer_channels = {"first": 4, "second": 6}
        self.conv1, self.norm1 = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(6)

    def layers(self, images: Tensor) -> dict[str, Tensor]:
        first = self.norm1(self.conv1(images)).relu()
        return {"first": first, "second": self.norm2(self.conv2(first)).relu()}

    @property
    def stage_pairs(self) -> dict[str, Sequence[tuple[str, str]]]:
        return {"across_stage": [("first", "second")]}


class UnitsEncoder(TinyEncoder):
    """As `TinyEncoder`, its z the last of three units, the first of which has other channels."""

    unit_layers = ("early", "middle", "second")

    def __init__(self, options: Any = None) -> None:
        super().__init__()
        self.inner_channels = {"early": 4, "middle": 6}

    def maps(self, images: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        found = self.layers(images)
        found |= {"early": found["first"][:, :, ::2, ::2], "middle": found["second"].flip(2)}
        return {name: found[name] for name in names}


def _options(word: str) -> type[TaskOptions]:
    return type(f"{word}Options", (TaskOptions,), {"__annotations__": {"name": str}, "short": word})


class Turn(Task):
    """By how many quarter turns is the image rotated? Its head has dropout."""

    Options = _options("trn")

    def build_head(self, num_features: int) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(4 * num_features, 4))

    def make_batch(self, images: Tensor, labels: Mapping[str, Tensor], generator: torch.Generator) -> TaskBatch:
        turns = torch.randint(4, (len(images),), generator=generator)
        turned = torch.stack([images.rot90(k, dims=(2, 3)) for k in range(4)])[turns, torch.arange(len(images))]
        return TaskBatch(self.normalize(turned.float() / 255), turns)

    def loss(self, prediction: Any, labels: Any) -> Tensor:
        return F.cross_entropy(prediction.float(), labels)

    def metrics(self, prediction: Any, labels: Any) -> dict[str, Tensor]:
        return {"accuracy": (prediction.argmax(dim=1) == labels).float().mean()}

    def chance(self) -> dict[str, float]:
        return {"loss": 1.386, "accuracy": 0.25}


class Brightness(Task):
    """The mean of each quarter of the image, of an input with noise. Its head has a batch norm."""

    Options = _options("bri")
    scale = 1.0

    def build_head(self, num_features: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(num_features, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))

    def make_batch(self, images: Tensor, labels: Mapping[str, Tensor], generator: torch.Generator) -> TaskBatch:
        pixels = images.float() / 255
        noise = torch.randn(pixels.shape, generator=generator)
        return TaskBatch(self.normalize(pixels + 0.1 * noise), self.scale * F.avg_pool2d(pixels.mean(1, True), 4))

    def loss(self, prediction: Any, labels: Any) -> Tensor:
        return F.mse_loss(prediction.float(), labels)

    def metrics(self, prediction: Any, labels: Any) -> dict[str, Tensor]:
        return {}

    def chance(self) -> dict[str, float]:
        return {}


class Contrast(Brightness):
    """As `Brightness`, with negative labels that conflict with it."""

    Options = _options("con")
    scale = -2.0


def tiny_dataset(num_train: int = 48, num_test: int = 16, size: int = 16) -> Dataset:
    """Smooth random images with a bright upper half, so that their turn can be told."""
    generator = torch.Generator().manual_seed(7)

    def split(count: int) -> Split:
        coarse = torch.rand(count, 3, 4, 4, generator=generator)
        coarse[:, :, :2] += 1.0
        images = F.interpolate(coarse / 2, size=size, mode="bilinear")
        return Split((images * 255).to(torch.uint8), torch.arange(count) % 2)

    return Dataset(
        ("a", "b"), size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), {"train": split(num_train), "test": split(num_test)}
    )


def tiny_source(**settings: Any) -> Source:
    """Two tasks, three short epochs; any setting can be given otherwise."""
    defaults: Mapping[str, Any] = {
        "dataset": "cifar10",
        "encoder": ENCODER,
        "tasks": [TURN, BRIGHTNESS],
        "epochs": 3,
        "iterations": 6,
        "batch_size": 8,
        "statistics_batches": 3,
        "optimizer": {"learning_rate": 0.05},
    }
    return Source(**{**defaults, **settings})
