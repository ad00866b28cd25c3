"""Stage `prepare_dataset`: reads a dataset from its origin and keeps it in one form."""

import io
import logging
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tessera.data.columns import RawColumn, check_columns, look_at_maps
from tessera.data.datasets.base import DatasetReader, ListedDataset, ListedObjects, RawDataset
from tessera.data.datasets.options.base import DatasetOptions
from tessera.data.detection import StoredObjects, check_objects, save_detection
from tessera.data.formats import FORMATS
from tessera.data.labels import MAPS
from tessera.data.packed import Shards
from tessera.data.packing import SHARD_BYTES, pack_images
from tessera.data.reading import MOST_SHOWN, printable
from tessera.data.store import check_labels, save_dataset, save_packed
from tessera.errors import DataError
from tessera.registry import load

log = logging.getLogger("tessera")

EXAMPLES = 5  # lines of the log on what was passed over for one reason
MOST_EXAMPLES = 30  # and for all

Splits = Mapping[str, np.ndarray]


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
        `num_train`, `num_test`, `num_unlabeled` (images), `num_classes`, `image_size` (px, the shorter side), and
        `num_skipped` (files passed over; the log names some for each reason). Of a dataset with boxes `num_train`,
        `num_test`, `num_classes`, `num_objects`, `num_difficult` (of these), and `num_skipped` (objects, annotations
        and images).

    Raises:
        DataError: If the dataset is missing, damaged or unfit.
    """
    reader: DatasetReader = load("dataset", options.name)(options)
    found = reader.read_within(data_root)
    listed = found.images if isinstance(found, ListedObjects) else found
    for classes in (listed.classes, *(column.classes for column in listed.columns.values())):
        check_names(classes, options.word())
    tell_skipped(listed.skipped)
    people = options.has_people()
    if isinstance(listed, RawDataset):
        save_dataset(folder, listed.images, listed.labels, listed.splits, listed.classes, listed.columns, people)
        tell_maps(listed.columns, listed.splits, options.word())
        figures = _figures(listed.splits, len(listed.classes), min(listed.images.shape[1:3]), len(listed.skipped))
    else:
        state = resume or folder / "shards"
        if isinstance(found, ListedObjects):
            figures = _pack_objects(found, options, folder, state, shard_bytes)
        else:
            figures = _pack(listed, options, folder, state, shard_bytes)
        if resume is None:
            shutil.rmtree(state)
    log.info("%s: %s", options.word(), ", ".join(f"{name} {value}" for name, value in figures.items()))
    return {name: float(value) for name, value in figures.items()}


def tell_skipped(lines: Sequence[str]) -> None:
    """Says in the log what was passed over: some examples of each reason, and how many there are."""
    told: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for line in lines:
        reason = re.sub(r"\([^()]*\)|`[^`]*`|\d[\d.]*", "…", line.rpartition(": ")[2])
        if told[reason] < EXAMPLES and told.total() < MOST_EXAMPLES:
            told[reason] += 1
            log.warning("passed over %s", line)
        else:
            left[reason] += 1
    for reason, number in left.most_common(EXAMPLES):
        log.warning("passed over %d more: %s", number, reason)
    if rest := left.total() - sum(number for _, number in left.most_common(EXAMPLES)):
        log.warning("passed over %d more for other reasons", rest)


def tell_maps(columns: Mapping[str, RawColumn], splits: Splits, word: str) -> None:
    """Says in the log what each column of maps holds, so that a wrong unit, folder or order of classes is seen."""
    for name, column in columns.items():
        if column.kind not in MAPS:
            continue
        seen = look_at_maps(column, splits["train"])
        line = f"{word}: {name}: {100 * seen.share:.1f} % of the training images' pixels have a label"
        if column.kind in ("depth_map", "disparity_map"):
            line += f", from {seen.low:.3g} to {seen.high:.3g}{' m' if column.kind == 'depth_map' else ''}"
        if seen.absent:
            line += f"; none of {', '.join(seen.absent[:EXAMPLES])}"
            line += f" and {len(seen.absent) - EXAMPLES} more" if len(seen.absent) > EXAMPLES else ""
        log.info(line)
        if len(splits["test"]) and not look_at_maps(column, splits["test"]).share:
            log.warning("%s: %s: no pixel of any test image has a label: nothing can be measured by it", word, name)


def check_names(classes: Sequence[str], word: str) -> None:
    """Sees that names of classes can be shown in tables and told apart.

    Args:
        word: The dataset's.

    Raises:
        DataError: If not.
    """
    known: dict[str, str] = {}
    for name in classes:
        if (shown := printable(name)) != name:
            why = f"longer than {MOST_SHOWN} characters" if name.isprintable() else "not printable"
            raise DataError(f"{word}: the class's name `{shown}` is {why}. Rename it.")
        plain = unicodedata.normalize("NFC", name)
        if plain in known:
            raise DataError(f"{word}: two classes are called `{name}`, in two forms of Unicode. Make them one.")
        known[plain] = name


def _figures(splits: Splits, num_classes: int, image_size: int, num_skipped: int) -> dict[str, int]:
    figures = {f"num_{name}": len(splits.get(name, ())) for name in ("train", "test", "unlabeled")}
    return figures | {"num_classes": num_classes, "image_size": image_size, "num_skipped": num_skipped}


def _pack(
    listed: ListedDataset, options: DatasetOptions, folder: Path, state: Path, shard_bytes: int
) -> dict[str, int]:
    """Packs a dataset, without damaged images, and returns its figures."""
    check_labels(len(listed), listed.labels, listed.splits, listed.classes)  # before any work
    check_columns(len(listed), listed.columns, None, listed.splits["train"])
    kept, splits, skipped = _pack_images(listed, options.word(), folder, state, shard_bytes)
    columns = {name: column._replace(labels=column.labels[kept]) for name, column in listed.columns.items()}
    people = options.has_people()
    save_packed(
        folder, listed.image_size, listed.labels[kept], splits, listed.classes, columns=columns, shows_people=people
    )
    return _figures(splits, len(listed.classes), listed.image_size, skipped)


def _pack_objects(
    found: ListedObjects, options: DatasetOptions, folder: Path, state: Path, shard_bytes: int
) -> dict[str, int]:
    """Packs a dataset with boxes, without damaged images, and returns its figures."""
    listed, word = found.images, options.word()
    check_objects(found.objects, listed.splits, listed.classes, word)  # before any work
    kept, splits, skipped = _pack_images(listed, word, folder, state, shard_bytes)
    objects = found.objects.select(np.flatnonzero(kept))
    check_objects(objects, splits, listed.classes, word)  # again: damaged images are known by now
    _check_sizes(objects, folder, state, word)
    save_detection(folder, listed.image_size, objects, splits, listed.classes, word, options.has_people())
    _tell_what_is_bare(objects, splits, listed.classes, word)
    return {
        "num_train": len(splits["train"]),
        "num_test": len(splits["test"]),
        "num_classes": len(listed.classes),
        "num_objects": len(objects.labels),
        "num_difficult": int(objects.difficult.sum()),
        "num_skipped": skipped,
    }


def _pack_images(
    listed: ListedDataset, word: str, folder: Path, state: Path, shard_bytes: int
) -> tuple[np.ndarray, Splits, int]:
    """Packs images; returns which were kept, (N,) bool, the splits without damaged ones, and how many were skipped."""
    kept, damaged = pack_images(listed, state, folder, word, shard_bytes)
    tell_skipped(damaged)
    row_of = np.cumsum(kept) - 1
    splits = {name: row_of[rows[kept[rows]]] for name, rows in listed.splits.items()}
    log.info("%s: all packed; taking mean and deviation", word)
    return kept, splits, len(listed.skipped) + len(damaged)


def _check_sizes(objects: StoredObjects, folder: Path, state: Path, word: str) -> None:
    """Sees that the images are of the sizes to which boxes were fitted: an earlier run may have packed other ones.

    Raises:
        DataError: If not. What was packed is removed, so that the next run starts anew.
    """
    shards = Shards(folder)
    for row, expected in enumerate(objects.sizes.tolist()):
        with Image.open(io.BytesIO(shards.read(row)), formats=FORMATS) as image:
            found = [image.height, image.width]
        if found != expected:
            shutil.rmtree(state)
            packed, now = (f"{width} x {height}" for height, width in (found, expected))
            raise DataError(
                f"{word}: image `{shards.name(row)}` had {packed} px when it was packed and has {now} px now: the data "
                "changed. Run it again: all is packed anew."
            )


def _tell_what_is_bare(objects: StoredObjects, splits: Splits, classes: list[str], word: str) -> None:
    """Warns of classes that cannot be learned, and of a test that measures nothing."""
    counts = {}
    for split, rows in splits.items():
        of = objects.select(rows)
        counts[split] = np.bincount(of.labels[~of.difficult], minlength=len(classes))
    if bare := [name for name, count in zip(classes, counts["train"], strict=True) if count == 0]:
        log.warning("%s: no training object of %s that is not difficult", word, ", ".join(bare))
    if not counts["test"].any():
        log.warning("%s: no test image shows an object that counts: there is nothing to measure", word)
