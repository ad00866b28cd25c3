"""Small images with every kind of label, and the trainings of real parts on them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from label_maps import MAP_COLUMNS, label_maps
from tessera import registry
from tessera.data.labels import Column
from tessera.data.store import Dataset, Split
from tessera.multitask.schedule.base import Schedule
from tessera.multitask.source import Source
from tessera.training.randomness import generator_of

PX = 32
CPU = torch.device("cpu")
OPTIONS: dict[str, dict[str, Any]] = {
    "jigsaw": {"permutations": 6},
    "jigsaw_plus": {"permutations": 6},
    "segmentation": {"segments": 5, "radius": 3.0},
    "colorization": {"prior_images": 16},
}
SHARED = {"schedule": {"name": "joint", "inputs": "shared"}}
LABELLED = [
    {"name": "classification", "hidden": [8]},
    {"name": "classification", "hidden": [8], "labels": "shade"},
    {"name": "depth"},
]


@contextmanager
def waiting_refused() -> Iterator[None]:
    """Makes an error of whatever waits for CUDA: reading a value, or a copy that is waited for."""
    try:
        with warnings.catch_warnings():  # the first time PyTorch warns that this is a prototype
            warnings.simplefilter("ignore")
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def task(name: str) -> dict[str, Any]:
    return {"name": name, **OPTIONS.get(name, {})}


def colorful(number: int, seed: int) -> Tensor:
    """Smooth images: random colours on a 4 x 4 raster, enlarged."""
    coarse = torch.rand(number, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return (F.interpolate(coarse, size=(PX, PX), mode="bilinear") * 255).to(torch.uint8)


def dataset(device: torch.device = CPU, number: int = 32) -> Dataset:
    """Images of four classes, each with a second label and with maps."""
    columns = {"shade": Column("class", ("dark", "light")), **MAP_COLUMNS}
    splits = {}
    for seed, name in enumerate(("train", "test")):
        images = colorful(number, seed)
        shade = (images.float().mean(dim=(1, 2, 3)) > 127).long()
        splits[name] = Split(images, torch.arange(number) % 4, {"shade": shade, **label_maps(images)}).to(device)
    return Dataset(tuple("abcd"), PX, (0.5,) * 3, (0.25,) * 3, splits, columns)


def source(**settings: Any) -> Source:
    """Two pretext tasks, two short epochs; any setting can be given otherwise."""
    content: dict[str, Any] = {
        "dataset": {"name": "image_folder", "path": "none", "image_size": PX},
        "encoder": "resnet8",
        "tasks": ["rotation", "reconstruction"],
        "epochs": 2,
        "iterations": 4,
        "batch_size": 8,
        "statistics_batches": 1,
        "optimizer": {"learning_rate": 0.01},
    }
    return Source.model_validate({**content, **settings})


def prepared(of: Source, data: Dataset) -> dict[str, dict[str, Tensor]]:
    """What the tasks' `prepare` makes."""
    return {
        part.name: registry.load("task", part.name).prepare(part.at(PX), PX, data, generator_of(0, part.name))
        for part in of.tasks
    }


def schedule_of(of: Source) -> Schedule:
    """The source's schedule."""
    made: Schedule = registry.load("schedule", of.schedule.name)(of.schedule)
    return made


def tensors(value: Any) -> list[Tensor]:
    """All tensors of nested tuples and mappings."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for part in value.values() for tensor in tensors(part)]
    return [tensor for part in value for tensor in tensors(part)] if isinstance(value, list | tuple) else []


def same_bytes(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Names of what differs."""
    assert one.keys() == other.keys()
    return [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]
