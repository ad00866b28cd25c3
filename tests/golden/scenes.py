"""Images with objects, from whole numbers alone: no library decodes them, and no rounding makes them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tessera.data.detection import DetectionDataset, Objects


class Squares:
    """A detection split: dark images with bright squares, a brightness a class; some are difficult.

    Noise within the squares: without it places would be equally bright, and rounding would order them.
    """

    def __init__(self) -> None:
        draw = np.random.default_rng(2)
        self.images, self.marked = [], []
        for _ in range(12):
            image, boxes = torch.from_numpy(draw.integers(0, 60, (3, 48, 64), dtype=np.uint8)), []
            labels = draw.integers(0, 3, 3)
            for left, label in zip((0, 22, 44), labels, strict=True):
                x, y, side = left + int(draw.integers(4)), int(draw.integers(30)), int(draw.integers(8, 17))
                image[:, y : y + side, x : x + side] = torch.from_numpy(
                    100 + 60 * label + draw.integers(0, 35, (3, side, side))
                )[:, : 48 - y, : 64 - x]
                boxes.append([x, y, x + side, y + side])
            self.images.append(image)
            difficult = torch.from_numpy(draw.random(3) < 0.2)
            self.marked.append(Objects(torch.tensor(boxes, dtype=torch.float32), torch.from_numpy(labels), difficult))

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Tensor:
        return self.images[index]

    def objects(self, index: int) -> Objects:
        return self.marked[index]

    def name(self, index: int) -> str:
        return str(index)

    def size(self, index: int) -> tuple[int, int]:
        return 48, 64


def squares() -> DetectionDataset:
    """Twelve such images, which are trained on and tested on."""
    splits: Any = {"train": Squares(), "test": Squares()}
    return DetectionDataset(("a", "b", "c"), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), splits)
