"""A prepared dataset on disk and in memory: uint8 images in one array, labels beside them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from tessera.errors import ArtifactError, DataError

SPLITS = ("train", "test", "unlabeled")


@dataclass(frozen=True)
class Split:
    """Images of one split.

    Shape:
        images: (N, 3, H, W) uint8.
        labels: (N,) int64, class indices; -1 where there is none.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, index: Tensor) -> "Split":
        """The images of these indices, in their order."""
        index = index.to(self.images.device)
        return Split(self.images[index], self.labels[index])


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset.

    Attributes:
        classes: Names of the classes, by label.
        mean, std: Per channel, of the training split, in units of [0, 1].
        splits: `train` and `test`, and `unlabeled` where there is one.
    """

    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    splits: Mapping[str, Split]

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
        return Split(torch.cat([s.images for s in both]), torch.cat([s.labels for s in both]))


def save_dataset(
    folder: Path, images: np.ndarray, labels: np.ndarray, splits: Mapping[str, np.ndarray], classes: list[str]
) -> None:
    """Writes a dataset: `images.npy` (N, H, W, 3) uint8, `labels.npy` (N,) int64, `splits.npz`, `dataset.json`.

    Raises:
        DataError: If shapes, types or labels do not fit together, or a class has no training image.
    """
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or images.shape[1] != images.shape[2]:
        raise DataError(f"images must be (N, S, S, 3) uint8, but are {images.shape} {images.dtype}")
    _check_splits(images, labels, splits, classes)
    train = labels[splits["train"]]
    counts = np.bincount(train[train >= 0], minlength=len(classes))
    if len(empty := np.flatnonzero(counts == 0)):
        raise DataError(f"class `{classes[empty[0]]}` has no training images: add some, or leave the class out")
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels.astype(np.int64))
    stored: dict[str, Any] = {name: index.astype(np.int64) for name, index in splits.items()}
    np.savez(folder / "splits.npz", **stored)
    mean, std = _statistics(images, splits["train"])
    about = {"classes": classes, "image_size": int(images.shape[1]), "mean": mean, "std": std}
    (folder / "dataset.json").write_text(json.dumps(about, indent=1) + "\n")


def load_dataset(folder: Path, device: torch.device) -> Dataset:
    """Reads a prepared dataset; its images lie on the device as one uint8 tensor a split."""
    try:
        about = json.loads((folder / "dataset.json").read_text())
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / "labels.npy", allow_pickle=False)
        with (folder / "splits.npz").open("rb") as file, np.load(file, allow_pickle=False) as stored:
            index = {name: stored[name] for name in stored.files}
        facts = tuple(about["classes"]), about["image_size"], tuple(about["mean"]), tuple(about["std"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ArtifactError(
            f"{folder}: not a readable dataset ({error}). Delete the folder; it is made again."
        ) from error
    splits = {
        name: Split(
            torch.from_numpy(np.ascontiguousarray(images[rows])).permute(0, 3, 1, 2).contiguous().to(device),
            torch.from_numpy(labels[rows]).to(device),
        )
        for name, rows in index.items()
    }
    return Dataset(*facts, splits)


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


def _check_splits(images: np.ndarray, labels: np.ndarray, splits: Mapping[str, np.ndarray], classes: list[str]) -> None:
    if labels.shape != images.shape[:1]:
        raise DataError(f"labels must be one an image, ({len(images)},), but are {labels.shape}")
    if len(labels) and not -1 <= labels.min() <= labels.max() < len(classes):
        raise DataError(f"labels must be -1 to {len(classes) - 1}, but are {labels.min()} to {labels.max()}")
    for name in ("train", "test"):
        if len(splits.get(name, ())) == 0:
            raise DataError(f"split `{name}` has no images")
    if unknown := set(splits) - set(SPLITS):
        raise DataError(f"unknown split `{min(unknown)}`. Known: {', '.join(SPLITS)}")
    rows = np.concatenate(list(splits.values()))
    if rows.min() < 0 or rows.max() >= len(images) or len(np.unique(rows)) < len(rows):
        raise DataError(f"splits must name each of the {len(images)} images at most once")


def _statistics(images: np.ndarray, rows: np.ndarray, chunk: int = 1 << 22) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, exact, from counts of the 256 values."""
    counts = np.zeros((3, 256), dtype=np.int64)
    step = max(1, chunk // images[0].size)
    for start in range(0, len(rows), step):
        part = images[rows[start : start + step]]
        counts += [np.bincount(part[..., channel].ravel(), minlength=256) for channel in range(3)]
    shares, values = counts / counts.sum(axis=1, keepdims=True), np.arange(256) / 255
    mean = shares @ values
    std = np.sqrt(np.maximum((shares * (values - mean[:, None]) ** 2).sum(axis=1), 1e-8))
    return mean.tolist(), std.tolist()
