"""Batches for a detector: images decoded and augmented by workers, in an order that the trial's number sets."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from tessera.data.detection import DetectionSplit, Objects
from tessera.detection.augment import Augmentation, View, seeded
from tessera.detection.distribute import ALONE, Share
from tessera.errors import TesseraError
from tessera.training.randomness import generator_of, index_batches, seed_of

AHEAD = 4  # batches that each worker makes before they are asked for

Key = tuple[int, int]  # which image, and the seed of its view


@dataclass(frozen=True)
class Order:
    """Which images make up each batch, epoch after epoch, and the seed of each one's view.

    A view depends on trial, epoch and position in the epoch alone: whoever makes it, and whenever the training began
    anew, it is the same.

    Attributes:
        num_images: Images to choose from.
        first_epoch: Epochs before it are done.
        share: The part of every batch that this process takes.
    """

    num_images: int
    batch_size: int
    iterations: int
    first_epoch: int
    epochs: int
    trial: int
    share: Share = ALONE

    def __iter__(self) -> Iterator[list[Key]]:
        for epoch in range(self.first_epoch, self.epochs):
            generator = generator_of(self.trial, "detection", "batches", epoch)
            rows = index_batches(self.num_images, self.batch_size, self.iterations, generator)
            for step, batch in enumerate(rows.tolist()):
                positions = range(step * self.batch_size, (step + 1) * self.batch_size)
                # Seeds of this process's part alone: the others' are none of its work.
                yield [
                    (row, seed_of(self.trial, "detection", "view", epoch, position))
                    for row, position in self.share.of(list(zip(batch, positions, strict=True)))
                ]


class Batch(NamedTuple):
    """Views of several images; their objects lie end to end, so that they reach the device in one copy.

    Shape:
        images: (N, 3, S, S) uint8.
        boxes: (M, 4) float32.
        labels: (M,) int64.
        counts: Objects of each image, N numbers.
    """

    images: Tensor
    boxes: Tensor
    labels: Tensor
    counts: list[int]

    def to(self, device: torch.device) -> tuple[Tensor, list[Objects]]:
        """Images and the objects of each, on the device, without waiting for it."""
        images, boxes, labels = (tensor.to(device, non_blocking=True) for tensor in self[:3])
        difficult = torch.zeros_like(labels, dtype=torch.bool)
        parts = zip(*(torch.split(tensor, self.counts) for tensor in (boxes, labels, difficult)), strict=True)
        return images, [Objects(*part) for part in parts]


class Views(TorchDataset[View | TesseraError]):
    """Views of a split's images, without the objects that are marked as difficult: SSD does not learn them."""

    def __init__(self, split: DetectionSplit, augment: Augmentation) -> None:
        self.split, self.augment = split, augment

    def __getitem__(self, key: Key) -> View | TesseraError:
        row, seed = key
        objects = self.split.objects(row)
        objects = objects.select(~objects.difficult)
        try:
            image = self.split.image(row)
        except TesseraError as error:
            return error  # raised in a worker, it would come with the worker's traceback
        with seeded(seed):
            return self.augment(image, objects.boxes, objects.labels)


def collate(views: Sequence[View | TesseraError]) -> Batch | TesseraError:
    """The batch of these views; the first error, if there is one."""
    made: list[View] = []
    for view in views:
        if isinstance(view, TesseraError):
            return view
        made.append(view)
    images, boxes, labels = zip(*made, strict=True)
    return Batch(torch.stack(images), torch.cat(boxes), torch.cat(labels), [len(part) for part in labels])


def load_batches(
    split: DetectionSplit, order: Iterable[list[Key]], augment: Augmentation, device: torch.device
) -> Generator[tuple[Tensor, list[Objects]], None, None]:
    """Views in this order, (N, 3, S, S) uint8 and the objects of each, on the device.

    Decoding and augmenting an image of 500 x 375 px takes a processor some 30 ms, nearly all of it for the
    augmentation, so decoded images are not kept. Workers go on with the next epoch while one ends; close the generator
    to end them.

    Raises:
        TesseraError: If an image is damaged.
    """
    workers = num_workers(device, torch.get_num_threads())
    loader = DataLoader(
        Views(split, augment),
        batch_sampler=order,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        prefetch_factor=AHEAD if workers else None,
        # Its own: the seed that it draws for its workers must not move the training's random numbers.
        generator=torch.Generator(),
    )
    for batch in loader:
        if isinstance(batch, TesseraError):
            raise batch
        yield batch.to(device)


def num_workers(device: torch.device, threads: int) -> int:
    """Processes that make batches: all the job's threads where a GPU computes, else those beside the computing one.

    >>> [num_workers(torch.device("cpu"), threads) for threads in (1, 2, 8)]
    [0, 1, 7]
    """
    return threads if device.type == "cuda" else threads - 1
