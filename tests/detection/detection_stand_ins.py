"""Images with marked objects held in memory, and a detector that answers from a table."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from tessera.data.detection import DetectionDataset, DetectionSplit, Objects
from tessera.models.networks.base import DetectionNetwork, Detections

Marked = tuple[list[float], int, bool]  # box, label, difficult
Answer = tuple[list[float], float, int]  # box, score, label

SIZE = 32  # px, of what the detector sees
CLASSES = ("cat", "dog", "bus")


class Scenes:
    """As `DetectionSplit`: image i is of the gray 10 i, and of its own size."""

    def __init__(self, sizes: Sequence[tuple[int, int]], marked: Sequence[Sequence[Marked]]) -> None:
        self.sizes, self.marked = sizes, marked

    def __len__(self) -> int:
        return len(self.sizes)

    def image(self, index: int) -> Tensor:
        return torch.full((3, *self.sizes[index]), 10 * index, dtype=torch.uint8)

    def objects(self, index: int) -> Objects:
        boxes, labels, difficult = zip(*self.marked[index], strict=True) if self.marked[index] else ((), (), ())
        return Objects(
            torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
            torch.tensor(labels, dtype=torch.int64),
            torch.tensor(difficult, dtype=torch.bool),
        )

    def name(self, index: int) -> str:
        return f"scene {index}"

    def size(self, index: int) -> tuple[int, int]:
        return self.sizes[index]


class Oracle(DetectionNetwork):
    """Finds what a table says of an image, whose gray it knows it by."""

    layer_channels = {"color": 3}  # noqa: RUF012

    def __init__(self, answers: Sequence[Sequence[Answer]], num_classes: int = len(CLASSES)) -> None:
        super().__init__()
        self.answers, self.num_classes, self.image_size = answers, num_classes, SIZE
        self.norm = nn.BatchNorm2d(3)  # would move in train mode
        self.batches: list[int] = []

    def losses(self, images: Tensor, objects: Sequence[Any]) -> dict[str, Tensor]:
        raise NotImplementedError

    def detect(self, images: Tensor) -> list[Detections]:
        assert images.shape[1:] == (3, SIZE, SIZE)
        assert images.dtype == torch.float32
        assert not torch.is_grad_enabled()
        self.norm(images)
        self.batches.append(len(images))
        return [self._answer(round(image.mean().item() * 255 / 10)) for image in images]

    def _answer(self, index: int) -> Detections:
        boxes, scores, labels = zip(*self.answers[index], strict=True) if self.answers[index] else ((), (), ())
        return Detections(
            torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
            torch.tensor(scores, dtype=torch.float32),
            torch.tensor(labels, dtype=torch.int64),
        )


def as_split(scenes: Scenes) -> DetectionSplit:
    """The scenes, for the type checker."""
    return cast(DetectionSplit, scenes)


def dataset_of(scenes: Scenes, classes: tuple[str, ...] = CLASSES) -> DetectionDataset:
    """A dataset whose test split these are."""
    split = as_split(scenes)
    return DetectionDataset(classes, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), {"train": split, "test": split})
