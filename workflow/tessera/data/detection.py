"""A prepared dataset of images in which objects are marked by boxes: its files, and how they are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from tessera.data.normalization import Normalization
from tessera.data.packed import Shards
from tessera.data.store import read_about, save_packed
from tessera.errors import ArtifactError, DataError

OBJECTS = "objects.npz"


@dataclass(frozen=True)
class Objects:
    """The marked objects of one image.

    Shape:
        boxes: (n, 4) float32, x1, y1, x2, y2 in px, 0-based and continuous: the first pixel alone is 0, 0, 1, 1. Of
            positive area and within the image.
        labels: (n,) int64, class indices.
        difficult: (n,) bool, what an evaluation neither asks for nor holds against a detector.
    """

    boxes: Tensor
    labels: Tensor
    difficult: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def none(cls) -> "Objects":
        """Those of an image that shows none."""
        return cls(torch.empty(0, 4), torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.bool))

    def select(self, index: Tensor) -> "Objects":
        """The objects of these indices, or of this mask."""
        return Objects(self.boxes[index], self.labels[index], self.difficult[index])

    def to(self, device: torch.device) -> "Objects":
        """The same objects on another device."""
        return Objects(self.boxes.to(device), self.labels.to(device), self.difficult.to(device))


class DetectionSplit:
    """Images of one split, each at its own size, and their objects; can be pickled, so that workers can load.

    Args:
        shards: The encoded images.
        rows: (N,) int64, which of them.
        stored: Objects of all images of the shards.
    """

    def __init__(self, shards: Shards, rows: np.ndarray, stored: "StoredObjects") -> None:
        self.shards, self.rows, self.stored = shards, rows, stored

    def __len__(self) -> int:
        return len(self.rows)

    def image(self, index: int) -> Tensor:
        """(3, H, W) uint8, RGB, on the CPU.

        Raises:
            ArtifactError: If it is damaged.
        """
        row = int(self.rows[index])
        pixels = self.shards.decode_whole(row, self.shards.read(row))
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def objects(self, index: int) -> Objects:
        """What is marked in the image."""
        return self.stored.of(int(self.rows[index]))

    def name(self, index: int) -> str:
        """What the image was called at its origin, below the dataset's folder."""
        return self.shards.name(int(self.rows[index]))

    def size(self, index: int) -> tuple[int, int]:
        """Height and width, px."""
        height, width = self.stored.sizes[self.rows[index]].tolist()
        return height, width

    def subset(self, index: Tensor) -> "DetectionSplit":
        """The images of these indices, in their order."""
        return DetectionSplit(self.shards, self.rows[index.cpu().numpy()], self.stored)


@dataclass(frozen=True)
class DetectionDataset:
    """A prepared dataset of marked images.

    Attributes:
        classes: Names of the classes, by label.
        mean, std: Per channel, of the training images, in units of [0, 1].
        splits: `train` and `test`.
        shows_people: No image of it may be drawn (`tessera.data.thumbnails.may_draw`).
    """

    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    splits: Mapping[str, DetectionSplit]
    shows_people: bool = False

    @property
    def normalization(self) -> Normalization:
        """What a network that learns from these images is to do with its input."""
        return Normalization(self.mean, self.std)

    @property
    def train(self) -> DetectionSplit:
        return self.splits["train"]

    @property
    def test(self) -> DetectionSplit:
        return self.splits["test"]


@dataclass(frozen=True)
class StoredObjects:
    """Objects of N images, end to end: what `objects.npz` holds.

    Shape:
        boxes: (M, 4) float32, as in `Objects`.
        labels: (M,) int64.
        difficult: (M,) bool.
        offsets: (N + 1,) int64: the objects of image i are offsets[i] to offsets[i + 1].
        sizes: (N, 2) int64, height and width, px.
    """

    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray

    @classmethod
    def joined(cls, objects: Sequence[Objects], sizes: Sequence[tuple[int, int]]) -> "StoredObjects":
        """Of each image its objects, and its height and width."""
        every = [Objects.none(), *objects]
        return cls(
            torch.cat([of.boxes for of in every]).numpy(),
            torch.cat([of.labels for of in every]).numpy(),
            torch.cat([of.difficult for of in every]).numpy(),
            np.cumsum([len(of) for of in every], dtype=np.int64),
            np.array(sizes, dtype=np.int64).reshape(-1, 2),
        )

    def __len__(self) -> int:
        return len(self.sizes)

    def of(self, row: int) -> Objects:
        """Those of one image."""
        part = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        # Copies, so that nobody writes into the dataset.
        return Objects(*(torch.from_numpy(of[part].copy()) for of in (self.boxes, self.labels, self.difficult)))

    def select(self, rows: np.ndarray) -> "StoredObjects":
        """Those of these images, in their order."""
        return StoredObjects.joined([self.of(row) for row in rows.tolist()], self.sizes[rows].tolist())


def save_detection(
    folder: Path,
    image_size: int,
    objects: StoredObjects,
    splits: Mapping[str, np.ndarray],
    classes: list[str],
    what: str,
    shows_people: bool = False,
) -> None:
    """Completes a dataset whose `Shards` are in the folder: `objects.npz`, and what a packed dataset has.

    Args:
        image_size: Height and width that pretext tasks see, and at which mean and deviation are taken, px.
        objects: Of each image of the shards.
        what: First word of messages.

    Raises:
        DataError: If objects and splits do not fit the images, or there is nothing to learn.
    """
    check_objects(objects, splits, classes, what)
    np.savez(folder / OBJECTS, allow_pickle=False, **vars(objects))
    labels = np.full(len(objects), -1, dtype=np.int64)  # an image has no class of its own
    save_packed(folder, image_size, labels, splits, classes, form="detection", shows_people=shows_people)


def check_objects(objects: StoredObjects, splits: Mapping[str, np.ndarray], classes: list[str], what: str) -> None:
    """Sees that objects fit their images, and that there is something to learn.

    Raises:
        DataError: If not.
    """
    x1, y1, x2, y2 = objects.boxes.T
    height, width = np.repeat(objects.sizes, np.diff(objects.offsets), axis=0).T
    if not ((x1 >= 0) & (x1 < x2) & (x2 <= width) & (y1 >= 0) & (y1 < y2) & (y2 <= height)).all():
        raise DataError(f"{what}: boxes must lie within their image and have an area")
    if len(objects.labels) and not 0 <= objects.labels.min() <= objects.labels.max() < len(classes):
        raise DataError(f"{what}: labels must be 0 to {len(classes) - 1}")
    if len(splits["test"]) == 0:
        raise DataError(f"{what}: no test image is left: each was passed over, as the log says. Mend them.")
    if objects.select(splits["train"]).difficult.all():
        number, undecodable = len(splits["train"]), int((objects.sizes[splits["train"]] == 0).any(axis=1).sum())
        damaged = f" ({undecodable} cannot be decoded)" if undecodable else ""
        raise DataError(
            f"{what}: nothing to learn: {number} training image{'s' if number != 1 else ''}{damaged}, but no object, "
            "or none that is not marked as difficult. Add annotated images, or name another list as `train`."
        )


def load_detection(folder: Path) -> DetectionDataset:
    """Reads a prepared dataset; its images stay encoded in their shards until they are asked for.

    Raises:
        ArtifactError: If it is not readable, or its images are not marked by boxes.
    """
    try:
        about, index = read_about(folder)
        if about.get("format") != "detection":
            raise ValueError("its images are not marked by boxes")
        with (folder / OBJECTS).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            stored = StoredObjects(**{name: arrays[name] for name in arrays.files})
        shards = Shards(folder)
        if len(shards) != len(stored) or len(stored.offsets) != len(stored) + 1:
            raise ValueError(f"{OBJECTS} is of {len(stored)} images, but there are {len(shards)}")
        facts = tuple(about["classes"]), tuple(about["mean"]), tuple(about["std"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise ArtifactError(
            f"{folder}: not a readable dataset of boxes ({error}). Delete the folder; it is made again."
        ) from error
    splits = {name: DetectionSplit(shards, rows, stored) for name, rows in index.items()}
    return DetectionDataset(*facts, splits, about.get("shows_people", False))
