"""What do a step's own pages cost, beside the same step written out by hand?

    PYTHONPATH=workflow python benchmarks/steps.py --device cpu

Own inputs: four tasks, a batch and a pass of the encoder each, by `OwnInputs` and `leave_gradients`, against a loop of
forward, loss and backward with the same records. Shared input: one batch, one pass of the encoder and four heads,
against the same by hand. All take turns in one run, since only ratios of one run count.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from statistics import median
from typing import Any

import torch

from tessera.data.labels import Column
from tessera.data.store import Dataset, Split
from tessera.multitask.gradients import leave_gradients
from tessera.multitask.learner import Learner
from tessera.multitask.source import Source
from tessera.multitask.step import METRICS_EVERY, OwnInputs, SharedInput, channels_last
from tessera.tasks.base import TaskBatch
from tessera.training.compute import Compute

COLUMNS = {"class": 10, "second": 2, "third": 3, "fourth": 5}


def random_dataset(size: int, number: int) -> Dataset:
    """Noise with labels: its speed is that of photographs."""
    images = torch.randint(256, (number, 3, size, size), dtype=torch.uint8)
    columns = {name: torch.randint(classes, (number,)) for name, classes in COLUMNS.items()}
    split = Split(images, columns.pop("class"), columns)
    kinds = {name: Column("class", tuple(map(str, range(classes)))) for name, classes in COLUMNS.items()}
    splits = {"train": split, "test": split}
    return Dataset(kinds["class"].classes, size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), splits, kinds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--encoder", default="resnet26")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    compute = Compute(torch.device(options.device), options.precision)
    source = Source.model_validate(
        {
            "dataset": {"name": "image_folder", "path": "none", "image_size": options.image_size},
            "encoder": options.encoder,
            "tasks": [{"name": "classification", "labels": name} for name in COLUMNS],
            "schedule": {"name": "joint", "inputs": "shared"},
        }
    )
    learner = Learner(source, random_dataset(options.image_size, 256), {}, compute, 0)
    names, encoder, shared = learner.names, learner.encoder, list(learner.encoder.parameters())
    views = learner.split.images[:64]
    batches: dict[str, TaskBatch] = {
        name: task.batch_of(views, {of: column[:64] for of, column in task.labels_of(learner.split).items()})
        for name, task in learner.tasks.items()
    }
    everything = [encoder, *learner.heads.values()]
    for module in everything:
        module.train()

    def by_hand(name: str, z: torch.Tensor, records: dict[str, list[Any]]) -> torch.Tensor:
        task, batch = learner.tasks[name], batches[name]
        with compute.autocast():
            prediction = learner.head(name)(z)
        loss = task.loss(prediction, batch.labels)
        with torch.no_grad():
            record = {"loss": loss.detach()}
            if len(records[name]) % METRICS_EVERY == 0:
                record |= task.metrics(prediction, batch.labels)
            records[name].append(record)
        return loss

    def passed(name: str) -> torch.Tensor:
        with compute.autocast():
            z: torch.Tensor = encoder(channels_last(batches[name].inputs))
        return z

    def own_by_hand(records: dict[str, list[Any]]) -> None:
        for name in names:
            by_hand(name, passed(name), records).backward()  # type: ignore[no-untyped-call]

    def shared_by_hand(records: dict[str, list[Any]]) -> None:
        z = passed(names[0])
        torch.stack([by_hand(name, z, records) for name in names]).sum().backward()  # type: ignore[no-untyped-call]

    feeds: dict[str, Iterator[TaskBatch]] = {name: repeat(batch) for name, batch in batches.items()}
    ways: dict[str, Callable[[dict[str, list[Any]]], None]] = {
        "own inputs by hand": own_by_hand,
        "own inputs": lambda records: leave_gradients(
            OwnInputs(learner, names, records, feeds), learner.balancing, shared
        ),
        "shared input by hand": shared_by_hand,
        "shared input": lambda records: leave_gradients(
            SharedInput(learner, names, records, batches), learner.balancing, shared
        ),
    }

    def timed(way: Callable[[dict[str, list[Any]]], None]) -> float:
        records: dict[str, list[Any]] = {name: [] for name in names}
        start = time.perf_counter()
        for _ in range(options.steps):
            way(records)
            for module in everything:
                module.zero_grad(set_to_none=True)
        if compute.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        timed(way)
    for turn in range(options.rounds):  # forth and back, so that none is always the first after another
        for name, way in list(ways.items())[:: 1 if turn % 2 == 0 else -1]:
            seconds[name].append(timed(way))
    for name, found in seconds.items():
        floor = name if name.endswith("by hand") else f"{name} by hand"
        ratio = median(mine / theirs for mine, theirs in zip(found, seconds[floor], strict=True))
        rate = 64 * options.steps / median(found)
        print(f"{name:22s} {rate:8.0f} images/s   {ratio:.3f} x by hand")


if __name__ == "__main__":
    main()
