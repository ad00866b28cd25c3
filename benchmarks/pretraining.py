"""How much slower is a pretraining than the loop that one would write by hand?

    PYTHONPATH=workflow python benchmarks/pretraining.py --steps 100

Ours is an epoch of `pretrain` with everything: turns, balancing, regularizer, records, held-out figures and fusion. Its
floor are the same steps written out by hand, of the same model, batches and optimiser, and as many bare passes over the
held-out images. Both take turns in one run, since only ratios of one run count; on one thread of a processor the clock
is the process's own, which another process disturbs little. Turns as long as those of a real epoch have 100 steps or
more: a floor of shorter ones is mostly held-out images.

A compiled encoder (`--compile`) is in ours and in its floor.
"""

import argparse
import logging
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import nn

from tessera import registry
from tessera.data.store import Dataset, Split
from tessera.multitask.batch_norm import batch_statistics
from tessera.multitask.epochs import Training
from tessera.multitask.fusion.states import copy_state
from tessera.multitask.source import Source
from tessera.multitask.step import channels_last
from tessera.multitask.validation import validate
from tessera.training.compute import Compute
from tessera.training.randomness import generator_of

TASKS = ("jigsaw", "colorization", "segmentation", "reconstruction")
# What is trained, and how often its epoch may take its floor; an anchor is one more forward pass, about a
# third of a step.
SCHEDULES: dict[str, tuple[dict[str, Any], float]] = {
    "joint": ({"schedule": "joint"}, 1.05),
    "branches, tte": ({"schedule": "branches", "fusion": "tte"}, 1.05),
    "branches, tte, divergence": ({"schedule": "branches", "fusion": "tte", "regularizer": "divergence"}, 1.38),
}


def random_dataset(size: int, number: int, device: torch.device) -> Dataset:
    """Noise: its speed is that of photographs."""
    images = torch.randint(256, (number, 3, size, size), dtype=torch.uint8, device=device)
    split = Split(images, torch.zeros(number, dtype=torch.int64, device=device))
    return Dataset(("any",), size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), {"train": split, "test": split})


class ByHand:
    """An epoch as one would write it for this one training, without what Tessera adds; its weights are another's."""

    def __init__(self, training: Training) -> None:
        self.training, self.learner = training, training.learner

    def steps(self, epoch: int) -> None:
        """Forward, loss, backward, clipping and the optimiser's step, turn by turn."""
        training, learner = self.training, self.learner
        learner.encoder.train()
        learner.heads.train()
        turns = training._turns(epoch)
        feeds = learner.feeds(epoch, turns)
        start = copy_state(learner.encoder)
        for turn in turns:
            if turn.parallel:
                learner.encoder.load_state_dict(start)
            optimizer = training._optimizer(turn, turns)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            encoder = learner.called(learner.encoder)
            for names in turn.steps:
                for name in names:
                    batch = next(feeds[name])
                    with learner.compute.autocast():
                        prediction = learner.head(name)(encoder(channels_last(batch.inputs)))
                    torch.autograd.backward(learner.tasks[name].loss(prediction, batch.labels))
                nn.utils.clip_grad_norm_(parameters, 5.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def held_out(self) -> None:
        """Bare passes over the held-out images, a task at a time."""
        learner, losses = self.learner, []
        size = min(learner.source.batch_size, len(learner.held_out))
        for name in learner.names:
            generator, task, head = generator_of("held out", name), learner.tasks[name], learner.head(name)
            with batch_statistics(learner.encoder, head):
                for begin in range(0, len(learner.held_out) - size + 1, size):
                    some = learner.held_out.subset(torch.arange(begin, begin + size))
                    batch = task.make_batch(some.images[:], task.labels_of(some), generator)
                    with learner.compute.autocast():
                        prediction = head(learner.encoder(channels_last(batch.inputs)))
                    losses.append(task.loss(prediction, batch.labels))
        torch.stack(losses).tolist()


def compared(ours: Training, hand: ByHand, epoch: int, device: torch.device) -> tuple[float, float, float]:
    """Seconds of an epoch, how often it takes its floor, and the same of its held-out passes.

    Args:
        epoch: 1 or more, for in the first epoch a regularizer may rest.
    """
    clock = time.process_time if device.type == "cpu" else time.perf_counter

    def timed(what: Callable[[], object]) -> float:
        start = clock()
        what()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return clock() - start

    def both(mine: Callable[[], object], floor: Callable[[], object]) -> tuple[float, float]:
        if epoch % 2:
            return timed(mine), timed(floor)
        after = timed(floor)  # so that neither is always the second
        return timed(mine), after

    def by_hand() -> None:
        hand.steps(epoch)
        for _ in range(2 if ours.fusion.options.merges else 1):  # before the fusion of branches, and after it
            hand.held_out()

    learner = ours.learner
    seconds, floor = both(lambda: ours.epoch(epoch), by_hand)
    held_out, bare = both(lambda: validate(learner, learner.names, metrics=False), hand.held_out)
    return seconds, seconds / floor, held_out / bare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--encoder", default="resnet26")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100, help="batches of each task in an epoch")
    parser.add_argument("--images", type=int, default=2048, help="in all, held-out ones among them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=list(SCHEDULES), help="one of them alone")
    parser.add_argument("--compile", action="store_true", help="with compiled passes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable()
    compute = Compute(torch.device(options.device), options.precision, compile=options.compile)
    dataset = random_dataset(options.image_size, options.images, compute.device)
    settings: dict[str, Any] = {
        "dataset": {"name": "image_folder", "path": "none", "image_size": options.image_size},
        "encoder": options.encoder,
        "tasks": list(TASKS),
        "iterations": options.steps * len(TASKS),
        "batch_size": options.batch,
        "epochs": options.rounds + 2,
    }
    prepared = {}
    for task in Source.model_validate(settings).tasks:
        full = task.at(options.image_size)
        make = registry.load("task", task.name).prepare
        prepared[task.name] = make(full, options.image_size, dataset, generator_of(0, task.name))

    def training_of(parts: dict[str, Any]) -> Training:
        made = Training(Source.model_validate({**settings, **parts}), dataset, prepared, compute, 0)
        made.choose_passes()
        return made

    print(f"{'':28s} {'images/s':>10s} {'epoch':>7s} {'at most':>8s} {'held out':>9s}   times the floor")
    for name, (parts, most) in SCHEDULES.items():
        if options.only not in (None, name):
            continue
        ours, hand = training_of(parts), ByHand(training_of({**parts, "regularizer": "none"}))
        # An epoch of single steps first: kernels are chosen, and memory is taken, at the first call.
        short = Source.model_validate({**settings, **parts, "iterations": len(TASKS)})
        first = Training(short, dataset, prepared, compute, 0)
        first.learner.called = ours.learner.called
        first.epoch(1)
        rounds = [compared(ours, hand, epoch, compute.device) for epoch in range(1, 1 + options.rounds)]
        seconds, whole, held_out = (median(found) for found in zip(*rounds, strict=True))
        images = options.batch * len(TASKS) * options.steps
        print(f"{name:28s} {images / seconds:10.0f} {whole:7.3f} {most:8.2f} {held_out:9.3f}", flush=True)


if __name__ == "__main__":
    main()
