"""Figures on held-out images: the same ones, shown the same way, after every epoch."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from tessera.data.store import Split
from tessera.multitask.batch_norm import batch_statistics
from tessera.multitask.records import Record, means
from tessera.training.randomness import generator_of

if TYPE_CHECKING:
    from tessera.multitask.learner import Learner

HELD_OUT_IMAGES = 512


def draw_held_out(test: Split) -> Split:
    """The images of a test split that every epoch of every training is validated on, at most `HELD_OUT_IMAGES`."""
    # Shuffled: test images often lie sorted by class.
    order = torch.randperm(len(test), generator=generator_of("held out"))
    held_out = test.subset(order[:HELD_OUT_IMAGES])
    return replace(held_out, images=held_out.images[:])  # packed images are decoded once, not in every epoch


@torch.no_grad()
def validate(learner: "Learner", name: str, *, metrics: bool = True) -> dict[str, float]:
    """Loss, and `metrics`, of a task on the held-out images: the same ones, shown the same way, every time.

    Batch norms use the batch's statistics, dropout is off, and nothing of the training's state is touched.
    """
    records: list[Record] = []
    size = min(learner.source.batch_size, len(learner.held_out))
    generator = generator_of("held out", learner.drawn_by[name])
    task = learner.tasks[name]
    with batch_statistics(learner.encoder, learner.head(name), learner.sharing, learner.regularizer.eval()):
        for start in range(0, len(learner.held_out) - size + 1, size):
            index = torch.arange(start, start + size)
            some = learner.held_out.subset(index)
            batch = task.make_batch(learner.shows[name](some.images[:]), task.labels_of(some), generator)
            prediction, _ = learner.predict(name, batch)
            loss = task.loss(prediction, batch.labels)
            records.append({"loss": loss, **(task.metrics(prediction, batch.labels) if metrics else {})})
    return means(records)
