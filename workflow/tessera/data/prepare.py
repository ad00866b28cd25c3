"""Stage `prepare_dataset`: reads a dataset from its origin and keeps it in one form."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tessera.data.datasets.base import DatasetReader, ListedDataset, RawDataset
from tessera.data.datasets.options import DatasetOptions
from tessera.data.packing import SHARD_BYTES, pack_images
from tessera.data.store import check_labels, save_dataset, save_packed
from tessera.registry import load

log = logging.getLogger("tessera")


def prepare_dataset(
    options: DatasetOptions,
    data_root: Path,
    folder: Path,
    resume: Path | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> dict[str, float]:
    """Reads a dataset and writes it in the form of `tessera.data.store`.

    Args:
        options: Of the dataset, as a study names it.
        data_root: Folder under which datasets lie.
        folder: Existing folder that is written into.
        resume: Folder of this job's unfinished state, on the same file system; None: complete shards do not outlive
            an error.
        shard_bytes: Size of a packed shard, at most.

    Returns:
        `num_train`, `num_test`, `num_unlabeled` (images), `num_classes`, `image_size` (px), and `num_skipped`
        (files passed over, each named in the log).

    Raises:
        DataError: If the dataset is missing, damaged or unfit.
    """
    reader: DatasetReader = load("dataset", options.name)(options)
    found = reader.read(data_root)
    for what in found.skipped:
        log.warning("passed over %s", what)
    splits, skipped = found.splits, list(found.skipped)
    if isinstance(found, RawDataset):
        image_size = found.images.shape[1]
        save_dataset(folder, found.images, found.labels, splits, found.classes)
    else:
        image_size = found.image_size
        splits, damaged = _pack(found, options.word(), folder, resume or folder / "shards", shard_bytes)
        if resume is None:
            shutil.rmtree(folder / "shards")
        skipped += damaged
    figures = {f"num_{name}": float(len(splits.get(name, ()))) for name in ("train", "test", "unlabeled")}
    figures |= {"num_classes": len(found.classes), "image_size": image_size, "num_skipped": len(skipped)}
    log.info("%s: %s", options.word(), ", ".join(f"{name} {value:.0f}" for name, value in figures.items()))
    return {name: float(value) for name, value in figures.items()}


def _pack(
    listed: ListedDataset, word: str, folder: Path, state: Path, shard_bytes: int
) -> tuple[Mapping[str, np.ndarray], Sequence[str]]:
    """Packs a dataset; returns its splits without damaged images, and what these are."""
    check_labels(len(listed), listed.labels, listed.splits, listed.classes)  # before any work
    kept, damaged = pack_images(listed, state, folder, word, shard_bytes)
    for what in damaged:
        log.warning("passed over %s", what)
    row_of = np.cumsum(kept) - 1
    splits = {name: row_of[rows[kept[rows]]] for name, rows in listed.splits.items()}
    log.info("%s: all packed; taking mean and deviation", word)
    save_packed(folder, listed.image_size, listed.labels[kept], splits, listed.classes)
    return splits, damaged
