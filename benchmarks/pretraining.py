"""How much slower is a pretraining than the bare steps it consists of?

    PYTHONPATH=workflow python benchmarks/pretraining.py --device cpu

Ours is an epoch of `pretrain`, with everything: batches made on the device, schedules, records, held-out losses and
fusion. The floor is forward, loss, backward and SGD of the same encoder and heads on batches that lie in memory. Both
take turns in one run, since only ratios of one run count.
"""

import argparse
import logging
import time
from statistics import median
from typing import Any

import torch

from tessera import registry
from tessera.data.store import Dataset, Split
from tessera.multitask.pretrain import pretrain
from tessera.multitask.source import Source
from tessera.tasks.base import ImageStatistics
from tessera.training.compute import Compute
from tessera.training.optimizer import make_optimizer
from tessera.training.randomness import generator_of

TASKS = ("jigsaw", "colorization", "segmentation", "reconstruction")
SCHEDULES = {
    "joint": {"schedule": "joint"},
    "branches, tte": {"schedule": "branches", "fusion": "tte"},
    "branches, tte, divergence": {"schedule": "branches", "fusion": "tte", "regularizer": "divergence"},
}


def random_dataset(size: int, number: int, device: torch.device) -> Dataset:
    """Noise: its speed is that of photographs."""
    images = torch.randint(256, (number, 3, size, size), dtype=torch.uint8, device=device)
    split = Split(images, torch.zeros(number, dtype=torch.int64, device=device))
    return Dataset(("any",), size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), {"train": split, "test": split})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--encoder", default="resnet26")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=25, help="batches of each task in an epoch")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable()
    compute = Compute(torch.device(options.device), options.precision)
    dataset = random_dataset(options.image_size, 2048, compute.device)
    settings: dict[str, Any] = {"dataset": {"name": "image_folder", "path": "none", "image_size": options.image_size}}
    settings |= {"encoder": options.encoder, "tasks": list(TASKS), "iterations": options.steps * len(TASKS)}
    sources = {
        name: Source.model_validate({**settings, **parts, "epochs": 2, "statistics_batches": 1})
        for name, parts in SCHEDULES.items()
    }
    source = sources["joint"]
    statistics = ImageStatistics.of(dataset)
    prepared, tasks = {}, {}
    for task in source.tasks:
        full = task.at(options.image_size)
        cls = registry.load("task", task.name)
        prepared[task.name] = cls.prepare(full, options.image_size, dataset, generator_of(0, task.name))
        tasks[task.name] = cls(full, statistics, prepared[task.name], compute.device)

    encoder = compute.place(registry.load("encoder", options.encoder)(source.encoder))
    heads = {name: compute.place(task.build_head(encoder.num_features)) for name, task in tasks.items()}
    optimizer = make_optimizer(source.optimizer, ([encoder, *heads.values()], 1.0))
    some = dataset.train.subset(torch.arange(64))
    batches = {
        name: task.make_batch(some.images[:], task.labels_of(some), generator_of(0, "batch", name))
        for name, task in tasks.items()
    }
    inputs = {name: batch.inputs.contiguous(memory_format=torch.channels_last) for name, batch in batches.items()}

    def synchronize() -> None:
        if compute.device.type == "cuda":
            torch.cuda.synchronize()

    def floor() -> float:
        start = time.perf_counter()
        for _ in range(options.steps):
            for name, task in tasks.items():
                with compute.autocast():
                    prediction = heads[name](encoder(inputs[name]))
                task.loss(prediction, batches[name].labels).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        synchronize()
        return time.perf_counter() - start

    floors: list[float] = []
    ours: dict[str, list[float]] = {name: [] for name in sources}
    floor()
    for _ in range(options.rounds):
        for name, one in sources.items():
            floors.append(floor())
            trained = pretrain(one, dataset, prepared, compute, 0, None)
            ours[name].append(float(trained.history[1]["seconds"]))
    images = 64 * len(TASKS) * options.steps
    print(f"{'floor':28s} {images / median(floors):8.0f} images/s")
    for name, seconds in ours.items():
        print(
            f"{name:28s} {images / median(seconds):8.0f} images/s   {median(seconds) / median(floors):.2f} x the floor"
        )


if __name__ == "__main__":
    main()
