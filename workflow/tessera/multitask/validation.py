"""Figures on held-out images: the same ones, shown the same way, after every epoch."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tessera.data.store import Split
from tessera.multitask.batch_norm import batch_statistics
from tessera.multitask.feeds import shared_batches
from tessera.multitask.records import Record, means
from tessera.tasks.base import TaskBatch, random_view, shared_views
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
def validate(learner: "Learner", names: Sequence[str], *, metrics: bool = True) -> dict[str, dict[str, float]]:
    """Loss, and `metrics`, of tasks on the held-out images: the same ones, shown the same way, every time.

    Batch norms use the batch's statistics, dropout is off, and nothing of the training's state is touched. Tasks that
    share their inputs in training share them here: one pass of the encoder for all of their heads.
    """
    if learner.source.schedule.shared_input:
        return _validated(learner, names, metrics)
    return {name: figures for one in names for name, figures in _validated(learner, [one], metrics).items()}


def _validated(learner: "Learner", names: Sequence[str], metrics: bool) -> dict[str, dict[str, float]]:
    """Of one task, or of tasks that see the same views, which the first of them draws."""
    records: dict[str, list[Record]] = {name: [] for name in names}
    size = learner.held_out_batch
    generator = generator_of("held out", learner.drawn_by[names[0]])
    heads = [learner.head(name) for name in names]
    with batch_statistics(learner.encoder, *heads, learner.sharing, learner.regularizer.eval()):
        for start in range(0, len(learner.held_out) - size + 1, size):
            batches = _batches(learner, names, torch.arange(start, start + size), generator)
            predictions = learner.predict(batches)
            for name, batch in batches.items():
                task, prediction = learner.tasks[name], predictions[name]
                loss = task.loss(prediction, batch.labels)
                records[name].append({"loss": loss, **(task.metrics(prediction, batch.labels) if metrics else {})})
    return {name: means(found) for name, found in records.items()}


def _batches(
    learner: "Learner", names: Sequence[str], index: Tensor, generator: torch.Generator
) -> dict[str, TaskBatch]:
    """Held-out images as each task sees them; the inputs of several are the same tensor's values."""
    some = learner.held_out.subset(index)
    images = some.images[:]
    labels = {name: learner.tasks[name].labels_of(some) for name in names}
    if len(names) == 1:
        (name,) = names
        return {name: learner.tasks[name].make_batch(learner.shows[name](images), labels[name], generator)}
    tasks = {name: learner.tasks[name] for name in names}
    view = random_view(images, generator, shared_views(task.options for task in tasks.values()))
    return shared_batches(tasks, images, labels, view)
