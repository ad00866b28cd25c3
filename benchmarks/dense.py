"""What do views with maps cost beside the step that learns from them, and measuring beside bare forward passes?

    PYTHONPATH=workflow python benchmarks/dense.py --width half --height 96 --width-px 128

A batch of scenes with three maps (13 classes, depth, normals): a view of each is scaled, cropped and mirrored with its
maps, and a SegNet with three heads takes a step on it. Then protocol `tasks` measures images, beside passes of the same
network over them. Both in turns in one run, by processor time on a CPU, since only ratios of one run count.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from tessera.data.images import in_slices
from tessera.data.labels import Column
from tessera.data.store import Dataset, Split
from tessera.multitask.feeds import shared_batches
from tessera.multitask.learner import Learner
from tessera.multitask.protocol import measured_by
from tessera.multitask.source import Source
from tessera.multitask.step import SharedInput
from tessera.multitask.store import StoredTasks
from tessera.multitask.task_network import TaskNetwork
from tessera.tasks.base import random_view, shared_views
from tessera.tasks.labelled import LabelledTask
from tessera.training.compute import Compute
from tessera.training.optimizer import make_optimizer

CLASSES = 13
SCALES = [1.0, 1.2, 1.5]
TASKS: list[dict[str, Any]] = [
    {"name": name, "scales": SCALES} for name in ("semantic_segmentation", "depth", "normals")
]
MOST_OF_A_STEP, MOST_OF_PASSES = 0.03, 1.3


def dense_dataset(height: int, width: int, number: int) -> Dataset:
    """Noise with maps: its speed is that of scenes."""
    images = torch.randint(256, (number, 3, height, width), dtype=torch.uint8)
    columns = {
        "segmentation": torch.randint(CLASSES, (number, height, width), dtype=torch.uint8),
        "depth": torch.rand(number, height, width).add(1).half(),
        "normals": torch.nn.functional.normalize(torch.randn(number, 3, height, width), dim=1).half(),
    }
    split = Split(images, torch.full((number,), -1), columns)
    kinds = {
        "segmentation": Column("class_map", tuple(map(str, range(CLASSES)))),
        "depth": Column("depth_map", ()),
        "normals": Column("normal_map", ()),
    }
    return Dataset((), min(height, width), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), {"train": split, "test": split}, kinds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--width", default="half", help="of the SegNet")
    parser.add_argument("--height", type=int, default=96, help="of the images, px")
    parser.add_argument("--width-px", type=int, default=128, help="of the images")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--images", type=int, default=64, help="that are measured")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    compute = Compute(torch.device(options.device), options.precision)
    source = Source.model_validate(
        {
            "dataset": {"name": "rendered_scenes"},
            "encoder": {"name": "segnet", "width": options.width},
            "tasks": TASKS,
            "schedule": {"name": "joint", "inputs": "shared"},
        }
    )
    dataset = dense_dataset(options.height, options.width_px, options.images)
    learner = Learner(source, dataset, {}, compute, 0)
    names = learner.names
    columns = {name: task.labels_of(learner.split) for name, task in learner.tasks.items()}
    views = shared_views(task.options for task in learner.tasks.values())
    generator = torch.Generator().manual_seed(0)
    optimizer = make_optimizer(source.optimizer, *learner.groups(names))

    def make() -> Any:
        rows = torch.randint(options.images, (options.batch,), generator=generator)
        images = learner.split.images.index_select(0, rows.to(compute.device))[:]
        labels = {name: {of: values[rows] for of, values in found.items()} for name, found in columns.items()}
        return shared_batches(learner.tasks, images, labels, random_view(images, generator, views))

    def step(batches: Any) -> None:
        learner.leave_gradients(SharedInput(learner, names, {name: [] for name in names}, batches, None), optimizer)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for module in learner.modules(names):
        module.train()
    making, stepping = turns(options, compute, {"views and labels": make, "step": lambda: step(make())})
    share = median(mine / (whole - mine) for mine, whole in zip(making, stepping, strict=True))
    print(f"views and labels: {1e3 * median(making):.1f} ms, {100 * share:.1f} % of a step without them "
          f"({1e3 * median(stepping):.0f} ms with them); wanted: at most {100 * MOST_OF_A_STEP:g} %")  # fmt: skip

    heads = {name: learner.head(name) for name in names}
    network = TaskNetwork(learner.encoder, learner.sharing, heads)
    compute.place(network).eval()
    labelled = {name: task for name, task in learner.tasks.items() if isinstance(task, LabelledTask)}
    stored = StoredTasks(labelled, network, dataset.normalization)
    normalize = dataset.normalization.of_images(compute.device)

    @torch.no_grad()
    def bare() -> None:
        for images in in_slices(dataset.test.images, 64):
            with compute.autocast():
                network(normalize(images))

    @torch.no_grad()
    def measure() -> None:
        for meter in measured_by(stored, dataset.test, dataset.normalization, compute).values():
            meter.figures()

    passes, measuring = turns(options, compute, {"passes": bare, "measuring": measure})
    ratio = median(mine / floor for mine, floor in zip(measuring, passes, strict=True))
    print(f"protocol `tasks`: {1e3 * median(measuring):.0f} ms for {options.images} images, {ratio:.2f} times bare "
          f"forward passes; wanted: at most {MOST_OF_PASSES:g}")  # fmt: skip


def turns(options: argparse.Namespace, compute: Compute, ways: dict[str, Callable[[], object]]) -> list[list[float]]:
    """Seconds of each way, in turn, round after round."""
    found: list[list[float]] = [[] for _ in ways]
    for turn in range(options.rounds + 1):
        for seconds, way in zip(found, ways.values(), strict=True):
            seconds.append(timed(way, compute.device))
        if turn == 0:  # the first ones warm up
            for seconds in found:
                seconds.clear()
    return found


def timed(way: Callable[[], object], device: torch.device) -> float:
    """Seconds of the device; on a CPU of the processor, which neighbours do not add to."""
    if device.type != "cuda":
        start = time.process_time()
        way()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    way()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
