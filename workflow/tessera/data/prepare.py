"""Stage `prepare_dataset`: reads a dataset from its origin and keeps it in one form."""

import logging
from pathlib import Path

from tessera.data.datasets.base import DatasetReader
from tessera.data.datasets.options import DatasetOptions
from tessera.data.store import save_dataset
from tessera.registry import load

log = logging.getLogger("tessera")


def prepare_dataset(options: DatasetOptions, data_root: Path, folder: Path) -> dict[str, float]:
    """Reads a dataset and writes it in the form of `tessera.data.store`.

    Args:
        options: Of the dataset, as a study names it.
        data_root: Folder under which datasets lie.
        folder: Existing folder that is written into.

    Returns:
        `num_train`, `num_test`, `num_unlabeled` (images), `num_classes`, `image_size` (px), and `num_skipped`
        (files passed over, each named in the log).

    Raises:
        DataError: If the dataset is missing, damaged or unfit.
    """
    reader: DatasetReader = load("dataset", options.name)(options)
    raw = reader.read(data_root)
    for what in raw.skipped:
        log.warning("passed over %s", what)
    save_dataset(folder, raw.images, raw.labels, raw.splits, raw.classes)
    figures = {f"num_{name}": float(len(raw.splits.get(name, ()))) for name in ("train", "test", "unlabeled")}
    figures |= {"num_classes": len(raw.classes), "image_size": raw.images.shape[1], "num_skipped": len(raw.skipped)}
    log.info("%s: %s", options.word(), ", ".join(f"{name} {value:.0f}" for name, value in figures.items()))
    return {name: float(value) for name, value in figures.items()}
