"""What every dataset is: it reads images and labels from their origin, once."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from tessera.data.columns import RawColumn
from tessera.data.decode import Encoded
from tessera.data.detection import StoredObjects
from tessera.data.store import label_subset

HELD_OUT = 0.2  # of the training images of each class, where these alone are divided


@dataclass(frozen=True)
class RawDataset:
    """Images as read.

    Attributes:
        splits: Name (`train`, `test`, maybe `unlabeled`) to the rows of the split, in its order; disjoint.
        classes: Names of the classes, by label; none where images have no class.
        skipped: What was passed over, each with its reason.
        columns: Further label columns, by name.

    Shape:
        images: (N, H, W, 3) uint8.
        labels: (N,) int64, class indices; -1 where there is none.
        splits[name]: (M,) int64.
    """

    images: np.ndarray
    labels: np.ndarray
    splits: Mapping[str, np.ndarray]
    classes: list[str]
    skipped: tuple[str, ...] = ()
    columns: Mapping[str, RawColumn] = field(default_factory=dict)


@dataclass(frozen=True)
class ListedDataset:
    """Images that are known by name and not yet read: they are kept as they are encoded, in packed shards.

    Attributes:
        splits: Name to the rows of the split, in its order; disjoint.
        classes: Names of the classes, by label.
        image_size: Height and width to which images are decoded, px.
        name: What the image of a row is called below the dataset's folder.
        read: The images from this row on, in the order of rows; the same ones every time.
        damaged: What an image that cannot be decoded does: `refuse` ends the preparation, `skip` passes it over.
        skipped: What was passed over, each with its reason.
        most_damaged: Share of the images that `skip` passes over, at most.
        columns: Further label columns, by name.

    Shape:
        labels: (N,) int64, class indices; -1 where there is none.
        splits[name]: (M,) int64.
    """

    labels: np.ndarray
    splits: Mapping[str, np.ndarray]
    classes: list[str]
    image_size: int
    name: Callable[[int], str]
    read: Callable[[int], Iterator[Encoded]]
    damaged: Literal["refuse", "skip"] = "refuse"
    skipped: tuple[str, ...] = ()
    most_damaged: float = 0.01
    columns: Mapping[str, RawColumn] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ListedObjects:
    """Images that are known by name and not yet read, and the objects that are marked in them.

    Attributes:
        images: Without labels (-1): their `classes` are those of the objects.
        objects: Of each of the images; none, and a size of 0, where an image cannot be decoded.
    """

    images: ListedDataset
    objects: StoredObjects


class DatasetReader(ABC):
    """One dataset.

    Args:
        options: What the study set.
    """

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def read(self, data_root: Path) -> RawDataset | ListedDataset | ListedObjects:
        """Reads the dataset, or lists what will be read of it; the same options give the same images in the same order.

        Args:
            data_root: Folder under which datasets lie.

        Raises:
            DataError: If something is missing, damaged or unfit.
        """

    def read_within(self, data_root: Path) -> RawDataset | ListedDataset | ListedObjects:
        """What is read, its splits as `within` asks: with `train` the training images alone, divided once more."""
        found = self.read(data_root)
        if self.options.within == "all":
            return found
        listed = found.images if isinstance(found, ListedObjects) else found
        splits = {**listed.splits, **self.divided(listed, listed.splits["train"])}
        if isinstance(found, ListedObjects):
            return replace(found, images=replace(found.images, splits=splits))
        return replace(found, splits=splits)

    def divided(self, found: RawDataset | ListedDataset, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Divides rows into `train` and `test`: a fifth of each class, of images without a class a fifth of all.

        The draw is the dataset's own, so that all trials see the same images. What is alike, such as frames of one
        video, is not kept together, unless the dataset says so.

        Shape:
            rows: (M,) int64.
        """
        generator = torch.Generator().manual_seed(0)
        labels = torch.from_numpy(found.labels[rows])
        tested = label_subset(torch.zeros_like(labels) if (labels < 0).any() else labels, HELD_OUT, generator).numpy()
        return {"train": np.delete(rows, tested), "test": rows[tested]}
