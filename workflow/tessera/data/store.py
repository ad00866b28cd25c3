"""A prepared dataset on disk and in memory: uint8 images in one array, or packed shards; labels beside them."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from tessera.data.columns import RawColumn, StoredColumns, check_columns, save_columns
from tessera.data.images import Images, concatenate, in_slices
from tessera.data.labels import IN_WORDS, Column
from tessera.data.normalization import Normalization
from tessera.data.packed import PackedImages, Shards
from tessera.errors import ArtifactError, DataError
from tessera.registry import suggest

SPLITS = ("train", "test", "unlabeled")
SAMPLED_IMAGES = 10_000  # training images that mean and deviation of a packed dataset are taken from


@dataclass(frozen=True)
class Split:
    """Images of one split.

    Shape:
        images: (N, 3, H, W) uint8: a tensor, or packed images, which give one when they are indexed.
        labels: (N,) int64, class indices of the column that is in use (`Dataset.by`); -1 where there is none.
        columns: Name of each further label column to its labels, as `StoredColumns.rows` gives them.
    """

    images: Images
    labels: Tensor
    columns: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, index: Tensor) -> "Split":
        """The images of these indices, in their order."""
        index = index.to(self.images.device)
        columns = {name: column[index] for name, column in self.columns.items()}
        return Split(self.images.index_select(0, index), self.labels[index], columns)

    def to(self, device: torch.device) -> "Split":
        """The same on a device; packed images stay on disk."""
        columns = {name: column.to(device) for name, column in self.columns.items()}
        return Split(self.images.to(device), self.labels.to(device), columns)


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset.

    Attributes:
        classes: Names of the classes, by label; none where images have no class.
        image_size: Height and width of the images, px; of unequal sides the shorter one.
        mean, std: Per channel, of the training split, in units of [0, 1].
        splits: `train` and `test`, and `unlabeled` where there is one.
        columns: Every label column: `class`, where the images have one, and those that lie beside it.
        shows_people: No image of it may be drawn (`tessera.data.thumbnails.may_draw`).
    """

    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    splits: Mapping[str, Split]
    columns: Mapping[str, Column] = field(default_factory=dict)
    shows_people: bool = False

    def __post_init__(self) -> None:
        if self.classes and "class" not in self.columns:
            object.__setattr__(self, "columns", {"class": Column("class", self.classes), **self.columns})

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the images, px."""
        height, width = self.train.images.shape[-2:]
        return height, width

    @property
    def normalization(self) -> Normalization:
        """What a network that learns from these images is to do with its input."""
        return Normalization(self.mean, self.std)

    @property
    def train(self) -> Split:
        return self.splits["train"]

    @property
    def test(self) -> Split:
        return self.splits["test"]

    def source_split(self) -> Split:
        """What pretext tasks learn from: the training split and, where there is one, the unlabelled split."""
        if "unlabeled" not in self.splits:
            return self.train
        both = [self.train, self.splits["unlabeled"]]
        columns = {name: torch.cat([s.columns[name] for s in both]) for name in self.train.columns}
        return Split(concatenate([s.images for s in both]), torch.cat([s.labels for s in both]), columns)

    def by(self, column: str) -> "Dataset":
        """The same dataset, whose `labels` and `classes` are those of another label column.

        Raises:
            DataError: If it has no such column, the message names the nearest one; or one that has no class an image.
        """
        if column not in self.columns:
            raise DataError(f"no label column `{column}`. {suggest(column, self.columns)}")
        if (kind := self.columns[column].kind) != "class":
            raise DataError(f"label column `{column}` has {IN_WORDS[kind]}, and no class of each image")
        if column == "class":
            return self
        splits = {
            name: Split(split.images, split.columns[column], split.columns) for name, split in self.splits.items()
        }
        return replace(self, classes=self.columns[column].classes, splits=splits)


def save_dataset(
    folder: Path,
    images: np.ndarray,
    labels: np.ndarray,
    splits: Mapping[str, np.ndarray],
    classes: list[str],
    columns: Mapping[str, RawColumn] = MappingProxyType({}),
    shows_people: bool = False,
) -> None:
    """Writes a dataset: `images.npy` (N, H, W, 3) uint8, `labels.npy` (N,) int64, `splits.npz`, `dataset.json`; and
    `columns/<name>.npy` of each further label column.

    Raises:
        DataError: If shapes, types or labels do not fit together, or a class has no training image.
    """
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise DataError(f"images must be (N, H, W, 3) uint8, but are {images.shape} {images.dtype}")
    check_labels(len(images), labels, splits, classes)
    check_columns(len(images), columns, (images.shape[1], images.shape[2]), splits["train"])
    np.save(folder / "images.npy", images)
    mean, std = _statistics(_chunks(images, splits["train"]))
    _save_rest(folder, "array", min(images.shape[1:3]), labels, splits, classes, mean, std, columns, shows_people)


def save_packed(
    folder: Path,
    image_size: int,
    labels: np.ndarray,
    splits: Mapping[str, np.ndarray],
    classes: list[str],
    form: Literal["packed", "detection"] = "packed",
    columns: Mapping[str, RawColumn] = MappingProxyType({}),
    shows_people: bool = False,
) -> None:
    """Completes a dataset whose `Shards` are in the folder; mean and deviation are those of evenly spaced training
    images, 10,000 at most.

    Args:
        form: What the folder holds: images of a class each, or images without (-1) that show objects.

    Raises:
        DataError: If labels and splits do not fit the images, or a class has no training image.
    """
    shards = Shards(folder)
    if form == "packed":
        check_labels(len(shards), labels, splits, classes)
        check_columns(len(shards), columns, None, splits["train"])
    else:
        _check_splits(len(shards), labels, splits)
    train = splits["train"]
    sample = train[np.linspace(0, len(train) - 1, min(len(train), SAMPLED_IMAGES)).round().astype(np.int64)]
    images = PackedImages(shards, torch.from_numpy(sample), image_size, torch.device("cpu"))
    mean, std = _statistics(part.permute(0, 2, 3, 1).numpy() for part in in_slices(images, 16))
    _save_rest(folder, form, image_size, labels, splits, classes, mean, std, columns, shows_people)


def check_labels(number: int, labels: np.ndarray, splits: Mapping[str, np.ndarray], classes: list[str]) -> None:
    """Compares labels and splits with the number of images.

    Raises:
        DataError: If they do not fit together, or a class has no training image.
    """
    _check_splits(number, labels, splits)
    if len(labels) and not -1 <= labels.min() <= labels.max() < len(classes):
        raise DataError(f"labels must be -1 to {len(classes) - 1}, but are {labels.min()} to {labels.max()}")
    train = labels[splits["train"]]
    counts = np.bincount(train[train >= 0], minlength=len(classes))
    if len(empty := np.flatnonzero(counts == 0)):
        raise DataError(f"class `{classes[empty[0]]}` has no training images: add some, or leave the class out")


def load_dataset(folder: Path, device: torch.device, labels: str | None = None) -> Dataset:
    """Reads a prepared dataset; its images lie on the device as one uint8 tensor a split, or in packed shards.

    Of a dataset for detection, the images as pretext tasks see them: squares without a label (-1).

    Args:
        labels: The label column that `labels` and `classes` are of; None: `class`.

    Raises:
        ArtifactError: If it is not readable, or lacks that column.
    """
    try:
        about, index = read_about(folder)
        stored = StoredColumns(folder / "columns", about.get("columns", {}))
        classes = np.load(folder / "labels.npy", allow_pickle=False)
        facts = tuple(about["classes"]), about["image_size"], tuple(about["mean"]), tuple(about["std"])
        take = _open_images(folder, about.get("format", "array"), about["image_size"], device)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ArtifactError(
            f"{folder}: not a readable dataset ({error}). Delete the folder; it is made again."
        ) from error

    def split_of(rows: np.ndarray) -> Split:
        return Split(take(rows), torch.from_numpy(classes[rows]), stored.rows(rows)).to(device)

    splits = {name: split_of(rows) for name, rows in index.items()}
    dataset = Dataset(*facts, splits, stored.columns, about.get("shows_people", False))
    if labels is None:
        return dataset
    refuse_without(dataset, [labels], folder)
    return dataset.by(labels)


def refuse_without(dataset: Dataset, columns: Iterable[str], folder: Path) -> None:
    """Ends what wants label columns of a dataset that was prepared before it had them.

    Raises:
        ArtifactError: If it lacks one.
    """
    for column in columns:
        if column not in dataset.columns:
            raise ArtifactError(
                f"{folder}: has no label column `{column}` (an older version made it). Delete the folder; it is made "
                "again."
            )


def read_about(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `dataset.json` says, and the rows of each split.

    Raises:
        OSError, ValueError, EOFError, BadZipFile: If they cannot be read.
    """
    about = json.loads((folder / "dataset.json").read_text())
    with (folder / "splits.npz").open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return about, {name: stored[name] for name in stored.files}


def _open_images(folder: Path, form: str, image_size: int, device: torch.device) -> Callable[[np.ndarray], Images]:
    """A function from rows to their images."""
    if form != "array":
        shards = Shards(folder)
        return lambda rows: PackedImages(shards, torch.from_numpy(rows), image_size, device)
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)

    def take(rows: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(images[rows])).permute(0, 3, 1, 2).contiguous().to(device)

    return take


def label_subset(labels: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Indices of a class-balanced share of the labelled images, at least one a class.

    Args:
        labels: (N,) int64; -1 is never drawn.
        fraction: Share of each class, above 0, at most 1.

    Shape:
        returns: (M,) int64, ascending, on the CPU.
    """
    labels = labels.cpu()
    chosen = []
    for label in torch.unique(labels[labels >= 0]).tolist():
        index = (labels == label).nonzero().flatten()
        order = torch.randperm(len(index), generator=generator)
        chosen.append(index[order[: max(1, round(fraction * len(index)))]])
    return torch.cat(chosen).sort().values


def _check_splits(number: int, labels: np.ndarray, splits: Mapping[str, np.ndarray]) -> None:
    if labels.shape != (number,):
        raise DataError(f"labels must be one an image, ({number},), but are {labels.shape}")
    for name in ("train", "test"):
        if len(splits.get(name, ())) == 0:
            raise DataError(f"split `{name}` has no images")
    if unknown := set(splits) - set(SPLITS):
        raise DataError(f"unknown split `{min(unknown)}`. Known: {', '.join(SPLITS)}")
    rows = np.concatenate(list(splits.values()))
    if rows.min() < 0 or rows.max() >= number or len(np.unique(rows)) < len(rows):
        raise DataError(f"splits must name each of the {number} images at most once")


def _save_rest(
    folder: Path,
    form: str,
    image_size: int,
    labels: np.ndarray,
    splits: Mapping[str, np.ndarray],
    classes: list[str],
    mean: list[float],
    std: list[float],
    columns: Mapping[str, RawColumn],
    shows_people: bool,
) -> None:
    np.save(folder / "labels.npy", labels.astype(np.int64))
    stored: dict[str, Any] = {name: index.astype(np.int64) for name, index in splits.items()}
    np.savez(folder / "splits.npz", **stored)
    about: dict[str, Any] = {
        "format": form,
        "classes": classes,
        "image_size": int(image_size),
        "mean": mean,
        "std": std,
    }
    if columns:  # absent else, so that what is written of a dataset without any stays the same
        about["columns"] = save_columns(folder, columns)
    if shows_people:
        about["shows_people"] = True
    (folder / "dataset.json").write_text(json.dumps(about, indent=1) + "\n")


def _chunks(images: np.ndarray, rows: np.ndarray, values: int = 1 << 22) -> Iterable[np.ndarray]:
    step = max(1, values // images[0].size)
    return (images[rows[start : start + step]] for start in range(0, len(rows), step))


def _statistics(parts: Iterable[np.ndarray]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of images (n, H, W, 3), exact, from counts of the 256 values."""
    counts = np.zeros((3, 256), dtype=np.int64)
    for part in parts:
        counts += [np.bincount(part[..., channel].ravel(), minlength=256) for channel in range(3)]
    shares, values = counts / counts.sum(axis=1, keepdims=True), np.arange(256) / 255
    mean = shares @ values
    std = np.sqrt(np.maximum((shares * (values - mean[:, None]) ** 2).sum(axis=1), 1e-8))
    return mean.tolist(), std.tolist()
