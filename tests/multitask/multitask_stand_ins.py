"""A user's own small encoder and tasks, named in a study as `multitask_stand_ins:Class`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.data.labels import Column
from tessera.data.store import Dataset, Split
from tessera.models.encoders.base import Encoder
from tessera.models.encoders.options import EncoderOptions
from tessera.multitask.balancing.base import Balancing
from tessera.multitask.balancing.options.base import ComparingOptions
from tessera.multitask.regularizers.base import Pass
from tessera.multitask.source import Source
from tessera.tasks.base import Task, TaskBatch
from tessera.tasks.options.base import TaskOptions

ENCODER = "multitask_stand_ins:TinyEncoder"
UNITS = "multitask_stand_ins:UnitsEncoder"
TURN = "multitask_stand_ins:Turn"
BRIGHTNESS = "multitask_stand_ins:Brightness"
CONTRAST = "multitask_stand_ins:Contrast"
UNIT_NORMS = "multitask_stand_ins:UnitNorms"
LABELLED: list[Any] = [
    {"name": "classification", "hidden": [8]},
    {"name": "classification", "hidden": [8], "labels": "shade"},
]
SHARED = {"name": "joint", "inputs": "shared"}


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


class UnitNorms(Balancing):
    """Gradients of length one each."""

    Options = type("UnitNormsOptions", (ComparingOptions,), {"__annotations__": {"name": str}})

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        return gramian.diagonal().rsqrt()


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


def pass_of(
    features: Tensor,
    task: str = "a",
    *,
    by_encoder: Callable[[Encoder], Tensor] | None = None,
    loss_by: Callable[[Callable[[Tensor], Any], Tensor], Tensor] | None = None,
    head: Callable[[Tensor], Any] | None = None,
) -> Pass:
    """A pass of a task whose loss, unless told otherwise, is the mean square of what its head answers."""
    loss_by = loss_by or (lambda head, features: head(features).float().square().mean())
    loss = loss_by(head or (lambda inputs: inputs.mean(dim=(2, 3))), features)
    batch = TaskBatch(torch.empty(0), None)
    return Pass(task, batch, features, loss, by_encoder or (lambda other: other(features)), loss_by)


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


def two_labels() -> Dataset:
    """`tiny_dataset` with a second column, `shade`, which a third of the images have not."""
    plain = tiny_dataset()
    splits = {}
    for name, split in plain.splits.items():
        shade = (torch.arange(len(split)) // 2) % 3
        splits[name] = Split(split.images, split.labels, {"shade": torch.where(shade == 2, -1, shade)})
    return replace(plain, splits=splits, columns={**plain.columns, "shade": Column("class", ("dark", "light"))})


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
