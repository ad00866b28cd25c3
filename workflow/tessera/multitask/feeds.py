"""The batches of a pretraining: each task's own in each epoch, and what is done to images before a task sees them."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tessera.data.constants import constant
from tessera.data.images import image_batches
from tessera.data.store import Split
from tessera.data.views import View
from tessera.tasks.base import Task, TaskBatch, random_view, seen_labels, shared_views
from tessera.training.randomness import generator_of, index_batches

LUMA = (19595, 38470, 7471)  # ITU-R BT.601 in parts of 2^16, as in Pillow: gray images stay what they are


class Feed:
    """Batches of one task in one epoch. Its random numbers depend on no other task, and on no other epoch.

    Args:
        batches: How many there will be.
        words: What the draws are for: (trial, epoch, …).
        show: What is done to images before the task sees them, (N, 3, H, W) uint8 both.

    Attributes:
        views: How many images, or parts of one, the encoder was given so far: a tile of a puzzle is one.
    """

    def __init__(
        self,
        task: Task,
        split: Split,
        batch_size: int,
        batches: int,
        *words: int | str,
        show: Callable[[Tensor], Tensor],
    ) -> None:
        self.task, self.split, self.show, self.views = task, split, show, 0
        self._columns = task.labels_of(split)
        index = index_batches(len(split), batch_size, batches, generator_of("batches", *words))
        self._drawn = zip(image_batches(split.images, index), index.to(split.labels.device), strict=True)
        self._generator = generator_of("pretext", *words)

    def __iter__(self) -> Iterator[TaskBatch]:
        return self

    def __next__(self) -> TaskBatch:
        images, index = next(self._drawn)
        labels = {name: column[index] for name, column in self._columns.items()}
        batch = self.task.make_batch(self.show(images), labels, self._generator)
        self.views += len(batch.inputs)
        return batch


def shared_batches(
    tasks: Mapping[str, Task], images: Tensor, labels: Mapping[str, Mapping[str, Tensor]], view: View
) -> dict[str, TaskBatch]:
    """A batch of each task of the same views; labels by task and column."""
    views = view.images(images)
    return {
        name: task.batch_of(views, seen_labels(view, labels[name], task.statistics.columns))
        for name, task in tasks.items()
    }


class SharedFeed:
    """Batches of views that all tasks of a step see, each with its own labels of them.

    Args:
        tasks: By name; all of them are shown a plain view.
        batches: How many there will be.
        words: What the draws are for: (trial, epoch, …).

    Attributes:
        views: How many the encoder was given so far: each once, however many tasks answer for it.
    """

    def __init__(
        self, tasks: Mapping[str, Task], split: Split, batch_size: int, batches: int, *words: int | str
    ) -> None:
        self.tasks, self.views = tasks, 0
        self._labels = {name: task.labels_of(split) for name, task in tasks.items()}
        index = index_batches(len(split), batch_size, batches, generator_of("batches", *words, "shared"))
        self._drawn = zip(image_batches(split.images, index), index.to(split.labels.device), strict=True)
        self._generator = generator_of("views", *words, "shared")
        self._views = shared_views(task.options for task in tasks.values())

    def __iter__(self) -> Iterator[dict[str, TaskBatch]]:
        return self

    def __next__(self) -> dict[str, TaskBatch]:
        images, index = next(self._drawn)
        labels = {name: {of: column[index] for of, column in each.items()} for name, each in self._labels.items()}
        self.views += len(images)
        return shared_batches(self.tasks, images, labels, random_view(images, self._generator, self._views))


class Feeds(dict[str, Any]):
    """Of each task, a `Feed`, or the one `SharedFeed` of all.

    Args:
        make: Gives them; what it is told goes to the words that they draw by.
    """

    def __init__(self, make: Callable[..., Mapping[str, Any]]) -> None:
        super().__init__(make())
        self._make = make

    @cached_property
    def others(self) -> Mapping[str, Any]:
        """As many other batches of the same tasks: made when they are first asked for, so that few pay for them."""
        return self._make("another")

    @property
    def views(self) -> int:
        """Image views that the encoder was given so far, to be trained on: of `others` none."""
        return sum(feed.views for feed in {id(feed): feed for feed in self.values()}.values())


def gray(images: Tensor) -> Tensor:
    """Luma (ITU-R BT.601) in three equal channels: what `source.harmonize` shows.

    Source: Doersch & Zisserman 2017, section 3.3, who repeat the L of Lab. Luma, as in jigsaw's own gray puzzles, keeps
    to the brightness for which the inputs are normalised.

    Shape:
        images: (N, 3, H, W) uint8.
        returns: the same.
    """
    weights = constant(LUMA, images.device, torch.int32).view(1, 3, 1, 1)
    luma = (images.int() * weights).sum(dim=1, keepdim=True, dtype=torch.int32)
    return ((luma + 2**15) >> 16).to(torch.uint8).repeat(1, 3, 1, 1)


def unchanged(images: Tensor) -> Tensor:
    """The images as they are."""
    return images
