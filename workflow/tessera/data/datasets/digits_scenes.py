"""Digits on photographs, to be found: a dataset that comes with scikit-learn, so that nothing is downloaded."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from tessera.data.datasets.base import DatasetReader, ListedDataset, ListedObjects
from tessera.data.datasets.digits_m import enlarge, tiles
from tessera.data.decode import Encoded
from tessera.data.detection import Objects, StoredObjects
from tessera.data.store import label_subset

MOST_DIGITS = 4  # an image
SIDES = (0.2, 0.5)  # of the square that a digit is drawn in, in shares of the image's side
CROPS = (96, 160)  # px of the photograph that an image shows, at most a tile
INK = 64  # of 255, from which on a pixel is part of the digit
MOST_OVERLAP = 0.02  # IoU of two boxes
TRIES = 30  # places tried for a digit, before it is left out
TESTED_DIGITS = 0.3  # share of the handwritten digits that is kept for testing, as in digits_m

Box = tuple[int, int, int, int]  # x1, y1, x2, y2, px


class DigitsScenes(DatasetReader):
    """1 to 4 of scikit-learn's 1,797 handwritten digits, of various sizes, on crops of its two colour photographs.

    A detection form of `digits_m`, with the same sources and the same care: no handwritten digit is in both splits,
    and neither is any pixel of a photograph (`within: train` divides scenes of the same digits and photographs). Ink is
    white on what is dark, black on what is bright, and blended at its edges; a box is tight about the pixels whose ink
    is a quarter of the full or more.

    Shape:
        images: (num_train + num_test, image_size, image_size, 3), encoded as PNG, training images first.
        objects: boxes (M, 4) float32, labels (M,) int64, end to end; none is difficult.
    """

    def read(self, data_root: Path) -> ListedObjects:
        digits, size = load_digits(), self.options.image_size
        labels = digits.target.astype(np.int64)
        generator = torch.Generator().manual_seed(self.options.seed)
        tested = np.zeros(len(labels), dtype=bool)
        tested[label_subset(torch.from_numpy(labels), TESTED_DIGITS, generator).numpy()] = True
        for_training, for_testing = tiles()
        numbers = {"train": self.options.num_train, "test": self.options.num_test}
        stock = {
            "train": _Stock(digits.images, np.flatnonzero(~tested), for_training),
            "test": _Stock(digits.images, np.flatnonzero(tested), for_testing),
        }
        made = [(split, number) for split in numbers for number in range(numbers[split])]

        def scene(row: int) -> "_Scene":
            split, number = made[row]
            # A seed for each, so that any of them can be made again alone, in any thread.
            seed = (self.options.seed, int(split == "test"), number)
            return _Scene.drawn(stock[split], size, np.random.default_rng(seed))

        def name(row: int) -> str:
            split, number = made[row]
            return f"{split}/{number:05}.png"

        def read(start: int) -> Iterator[Encoded]:
            return (
                Encoded(f"{self.options.name}: {name(row)}", partial(lambda row: scene(row).png(), row))
                for row in range(start, len(made))
            )

        objects = [scene(row).objects(labels) for row in range(len(made))]
        first = numbers["train"]
        images = ListedDataset(
            np.full(len(made), -1, dtype=np.int64),
            {"train": np.arange(first), "test": np.arange(first, len(made))},
            [str(of) for of in digits.target_names],
            size,
            name=name,
            read=read,
        )
        return ListedObjects(images, StoredObjects.joined(objects, [(size, size)] * len(made)))


@dataclass(frozen=True)
class _Stock:
    """What the images of a split are made of.

    Shape:
        digits: (1797, 8, 8), 0 to 16.
        rows: (n,) int64, which of the digits.
        tiles: parts of photographs, (h, w, 3) float32, 0 to 255.
    """

    digits: np.ndarray
    rows: np.ndarray
    tiles: list[np.ndarray]


@dataclass(frozen=True)
class _Scene:
    """One image, before it is drawn.

    Attributes:
        crop: Of the photograph.
        digits: Which they are.
        ink: Of each digit, (h, w) float32, 0 to 1, its margins cut off.
        boxes: Where they are, x1, y1, x2, y2.
    """

    size: int
    crop: np.ndarray
    digits: list[int]
    ink: list[np.ndarray]
    boxes: list[Box]

    @classmethod
    def drawn(cls, stock: _Stock, size: int, random: np.random.Generator) -> "_Scene":
        """Draws crop, digits, sizes and places."""
        scene = cls(size, _crop(stock.tiles[random.integers(len(stock.tiles))], random), [], [], [])
        for _ in range(random.integers(1, MOST_DIGITS + 1)):
            digit = int(stock.rows[random.integers(len(stock.rows))])
            side = round(size * random.uniform(*SIDES))
            ink = _tight(enlarge(stock.digits[digit][None], side)[0])
            height, width = ink.shape
            for _ in range(TRIES):
                left, top = (int(random.integers(size - length + 1)) for length in (width, height))
                box = (left, top, left + width, top + height)
                if all(_overlap(box, other) <= MOST_OVERLAP for other in scene.boxes):
                    scene.digits.append(digit)
                    scene.ink.append(ink)
                    scene.boxes.append(box)
                    break
        return scene

    def objects(self, labels: np.ndarray) -> Objects:
        """The digits, marked."""
        return Objects(
            torch.tensor(self.boxes, dtype=torch.float32),
            torch.from_numpy(labels[self.digits]),
            torch.zeros(len(self.digits), dtype=torch.bool),
        )

    def png(self) -> bytes:
        """The image, encoded."""
        crop = Image.fromarray(self.crop.round().astype(np.uint8))
        pixels = np.array(crop.resize((self.size, self.size), Image.Resampling.BILINEAR), dtype=np.float32)
        for (x1, y1, x2, y2), ink in zip(self.boxes, self.ink, strict=True):
            below = pixels[y1:y2, x1:x2]
            color = 255.0 if below.mean() < 128 else 0.0
            pixels[y1:y2, x1:x2] = below + (color - below) * ink[:, :, None]
        buffer = io.BytesIO()
        Image.fromarray(pixels.round().astype(np.uint8)).save(buffer, "png", compress_level=1)
        return buffer.getvalue()


def _crop(tile: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A square of a tile, half of them mirrored."""
    height, width = tile.shape[:2]
    side = int(random.integers(CROPS[0], min(CROPS[1], height, width) + 1))
    top, left = (int(random.integers(length - side + 1)) for length in (height, width))
    crop = tile[top : top + side, left : left + side]
    return crop[:, ::-1] if random.random() < 0.5 else crop


def _tight(digit: np.ndarray) -> np.ndarray:
    """(s, s), 0 to 255, to (h, w), 0 to 1, without the margins in which there is hardly any ink."""
    rows, columns = (np.flatnonzero((digit >= INK).any(axis=axis)) for axis in (1, 0))
    return np.asarray(digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] / 255, dtype=np.float32)


def _overlap(box: Box, other: Box) -> float:
    """IoU of two boxes."""
    width, height = (min(box[i + 2], other[i + 2]) - max(box[i], other[i]) for i in (0, 1))
    shared = max(0, width) * max(0, height)
    areas = ((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (box, other))
    return shared / (sum(areas) - shared)
