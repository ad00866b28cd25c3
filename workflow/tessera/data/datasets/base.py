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
from tessera.errors import DataError

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

    def select(self, rows: np.ndarray) -> "ListedDataset":
        """The images of these rows alone, ascending, which hold all that are in a split."""
        wanted = set(rows.tolist())

        def read(start: int) -> Iterator[Encoded]:
            if start < len(rows):
                first = int(rows[start])
                yield from (image for row, image in enumerate(self.read(first), first) if row in wanted)

        return replace(
            self,
            labels=self.labels[rows],
            splits={name: np.searchsorted(rows, of_split) for name, of_split in self.splits.items()},
            name=lambda row: self.name(int(rows[row])),
            read=read,
            columns={name: column._replace(labels=column.labels[rows]) for name, column in self.columns.items()},
        )


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
        if isinstance(listed, RawDataset):
            return replace(listed, splits=splits)
        used = np.sort(np.concatenate(list(splits.values())))
        images = replace(listed, splits=splits).select(used)
        return ListedObjects(images, found.objects.select(used)) if isinstance(found, ListedObjects) else images

    def divided(self, found: RawDataset | ListedDataset, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Divides rows into `train` and `test`: a fifth of each class, of images without a class a fifth of all.

        The draw is the dataset's own, so that all trials see the same images. Images of one `sequence`, a label column,
        stay together; what else is alike does not, unless the dataset says so. A class of one image stays in training.

        Shape:
            rows: (M,) int64.

        Raises:
            DataError: If nothing can be held out.
        """
        column = found.columns.get("sequence")
        of_sequence = np.arange(len(rows)) if column is None else column.labels[rows]
        _, first, group = np.unique(of_sequence, return_index=True, return_inverse=True)
        labels = found.labels[rows][first]
        labels = np.zeros_like(labels) if (labels < 0).any() else labels
        drawn = label_subset(torch.from_numpy(labels), HELD_OUT, torch.Generator().manual_seed(0)).numpy()
        held = drawn[np.bincount(labels)[labels[drawn]] > 1]
        if not len(held):
            raise DataError(
                f"{self.options.word()}: `within: train` divides the training images, of which there are too few: "
                f"{len(rows):,}, in {len(first):,} parts that stay together"
            )
        tested = np.isin(group, held)
        return {"train": rows[~tested], "test": rows[tested]}
