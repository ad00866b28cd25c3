"""A prepared dataset on disk and in memory: uint8 images in one array, labels beside them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
    train = labels[splits["train"]]
    counts = np.bincount(train[train >= 0], minlength=len(classes))
    if len(empty := np.flatnonzero(counts == 0)):
        raise DataError(f"class `{classes[empty[0]]}` has no training images: add some, or leave the class out")
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels.astype(np.int64))
    np.savez(
        folder / "splits.npz", allow_pickle=False, **{name: index.astype(np.int64) for name, index in splits.items()}
    )
    mean, std = _statistics(images, splits["train"])
    about = {"classes": classes, "image_size": int(images.shape[1]), "mean": mean, "std": std}
    (folder / "dataset.json").write_text(json.dumps(about, indent=1) + "\n")


def load_dataset(folder: Path, device: torch.device) -> Dataset:
    """Reads a prepared dataset; its images lie on the device as one uint8 tensor a split."""
    try:
        about = json.loads((folder / "dataset.json").read_text())
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / "labels.npy", allow_pickle=False)
        with np.load(folder / "splits.npz", allow_pickle=False) as stored:
            index = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, KeyError) as error:
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
    return Dataset(tuple(about["classes"]), about["image_size"], tuple(about["mean"]), tuple(about["std"]), splits)


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


def _statistics(images: np.ndarray, rows: np.ndarray, chunk: int = 4096) -> tuple[list[float], list[float]]:
    total, squares, count = np.zeros(3), np.zeros(3), 0
    for start in range(0, len(rows), chunk):
        part = images[rows[start : start + chunk]].reshape(-1, 3).astype(np.float64) / 255
        total, squares, count = total + part.sum(0), squares + (part**2).sum(0), count + len(part)
    mean = total / count
    return mean.tolist(), np.sqrt(np.maximum(squares / count - mean**2, 1e-8)).tolist()
