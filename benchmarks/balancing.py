"""What does a step cost under each balancing and regularizer, beside `equal`, and beside a plain loop?

    PYTHONPATH=workflow python benchmarks/balancing.py --only own

Three kinds of step: own inputs (a batch and a pass of the encoder each), a shared input whose gradients of parameters
are compared, and one whose gradients of the encoder's map are. The plain loop has every loss in one tensor, as
libraries want it, and takes K gradients of it. All take turns in one run and are measured by processor time on a CPU,
since only ratios of one run count.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from statistics import median
from typing import Any

import torch
from steps import COLUMNS, random_dataset

from tessera.multitask.learner import Learner
from tessera.multitask.source import Source
from tessera.multitask.step import OwnInputs, SharedInput, Step, channels_last
from tessera.tasks.base import TaskBatch
from tessera.training.compute import Compute
from tessera.training.optimizer import make_optimizer

OWN, SHARED = {"name": "joint"}, {"name": "joint", "inputs": "shared"}
COMPARING: list[Any] = [
    "mgda", "pcgrad", "cagrad", "imtl", "nash_mtl", "aligned_mtl", "fairgrad", "upgrad", "dual_proj",
]  # fmt: skip
# (name, what is set of the source); the first of a kind is what its others are compared with.
TABLE: dict[str, list[tuple[str, dict[str, Any]]]] = {
    **{
        kind: [
            ("equal", {"schedule": schedule}),
            *((name, {"schedule": schedule, "balancing": name}) for name in ["uncertainty", "random", *COMPARING]),
            *((name, {"schedule": schedule, "balancing": name}) for name in ["gradnorm", "auto_lambda"]),
            *((name, {"schedule": schedule, "regularizer": name}) for name in ["dgr", "pta", "sam"]),
        ]
        for kind, schedule in {"own": OWN, "shared": SHARED}.items()
    },
    "features": [
        ("equal", {"schedule": SHARED}),
        *((name, {"schedule": SHARED, "balancing": {"name": name, "of": "features"}}) for name in COMPARING),
    ],
}


class Row:
    """A learner of one line of the table, and its step."""

    def __init__(self, settings: dict[str, Any], options: argparse.Namespace) -> None:
        source = Source.model_validate(
            {
                "dataset": {"name": "image_folder", "path": "none", "image_size": options.image_size},
                "encoder": options.encoder,
                "tasks": [{"name": "classification", "labels": name} for name in COLUMNS],
                **settings,
            }
        )
        compute = Compute(torch.device(options.device), options.precision)
        torch.manual_seed(0)
        self.learner = Learner(source, random_dataset(options.image_size, 256), {}, compute, 0)
        self.names, self.shared = self.learner.names, self.learner.shared
        views = self.learner.split.images[: options.batch]
        self.batches: dict[str, TaskBatch] = {
            name: task.batch_of(
                views, {of: column[: options.batch] for of, column in task.labels_of(self.learner.split).items()}
            )
            for name, task in self.learner.tasks.items()
        }
        self.feeds: dict[str, Iterator[TaskBatch]] = {name: repeat(batch) for name, batch in self.batches.items()}
        self.modules = [*self.learner.modules(self.names), self.learner.balancing]
        for module in self.modules:
            module.train()
        self.optimizer = make_optimizer(source.optimizer, *self.learner.groups(self.names))

    def step(self) -> None:
        self.learner.leave_gradients(self._step(another=self._step), self.optimizer)

    def _step(self, _: object = None, another: Callable[[Any], Step] | None = None) -> Step:
        records: dict[str, list[Any]] = {name: [] for name in self.names}
        if self.learner.source.schedule.shared_input:
            return SharedInput(self.learner, self.names, records, self.batches, another)
        return OwnInputs(self.learner, self.names, records, self.feeds, another)

    def plain(self) -> None:
        """The loop without any balancing: the losses of all tasks in one tensor, and a gradient of each."""
        shared_input = self.learner.source.schedule.shared_input
        z, losses = None, []
        for name in self.names:
            if z is None or not shared_input:
                with self.learner.compute.autocast():
                    z = self.learner.encoder(channels_last(self.batches[name].inputs))
            with self.learner.compute.autocast():
                prediction = self.learner.head(name)(z)
            losses.append(self.learner.tasks[name].loss(prediction, self.batches[name].labels))
        together = torch.stack(losses)
        heads = [parameter for name in self.names for parameter in self.learner.head(name).parameters()]
        trained = [*self.shared, *heads]
        rows, total = [], [torch.zeros_like(parameter) for parameter in trained]
        for place in range(len(losses)):
            found = torch.autograd.grad(together[place], trained, retain_graph=True, allow_unused=True)
            rows.append(torch.cat([part.flatten() for part in found[: len(self.shared)] if part is not None]))
            for kept, part in zip(total, found, strict=True):
                kept += 0 if part is None else part
        matrix = torch.stack(rows)
        (matrix @ matrix.T).cpu()
        for parameter, gradient in zip(trained, total, strict=True):
            parameter.grad = gradient

    def timed(self, way: Callable[[], None], steps: int) -> float:
        on_cpu = self.learner.compute.device.type == "cpu"
        clock = time.process_time if on_cpu else time.perf_counter
        start = clock()
        for _ in range(steps):
            way()
            for module in self.modules:
                module.zero_grad(set_to_none=True)
        if not on_cpu:
            torch.cuda.synchronize()
        return clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--encoder", default="resnet26")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=TABLE, help="one kind of step alone")
    parser.add_argument("--balancings", nargs="*", help="names of the table, beside `equal`; all unless given")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for kind in [options.only] if options.only else TABLE:
        first = TABLE[kind][0][0]
        chosen = {first, *(options.balancings or dict(TABLE[kind]))}
        rows = {name: Row(settings, options) for name, settings in TABLE[kind] if name in chosen}
        ways = {name: (row, row.step) for name, row in rows.items()}
        ways["plain loop"] = (rows[first], rows[first].plain)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for row, way in ways.values():
            row.timed(way, 1)
        order = list(ways.items())
        for turn in range(options.rounds):  # in an order of its own, so that none follows the same other each time
            random.Random(turn).shuffle(order)
            for name, (row, way) in order:
                seconds[name].append(row.timed(way, options.steps))
        print(f"{kind}, times `{first}`:")
        for name, found in seconds.items():
            ratio = median(mine / theirs for mine, theirs in zip(found, seconds[first], strict=True))
            print(f"  {name:14s} {ratio:6.3f}   {1000 * median(found) / options.steps:8.1f} ms a step")


if __name__ == "__main__":
    main()
