"""Images of one's own: a folder a class, in a tree or in an archive that is read directly."""

import logging
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from tessera.data.archives import Entry, check_sha256, encoded, entries, name_in
from tessera.data.columns import RawColumn
from tessera.data.datasets.base import DatasetReader, ListedDataset, RawDataset
from tessera.data.datasets.layout import Layout, Parts, ignored, is_image
from tessera.data.datasets.levels import columns_above
from tessera.data.datasets.options.image_folder import ImageFolderOptions
from tessera.data.datasets.suffixes import TARS
from tessera.data.decode import Encoded, decode_images
from tessera.data.reading import printable
from tessera.data.store import label_subset
from tessera.errors import DataError
from tessera.registry import suggest

log = logging.getLogger("tessera")


class ImageFolder(DatasetReader):
    """A tree of one folder a class, or an archive of one, streamed once and never unpacked.

    The split's folder lies at any depth, and images at any depth below the class's: `[…/]<split>/<class>/[…/]image`.
    Rows keep the order in which the source gave them; the splits' rows are sorted by class and name, so that a tree
    and any archive of it give the same dataset. Where it is to be packed, an archive is streamed twice: once for the
    names, once for the images.

    Shape:
        images: (N, image_size, image_size, 3) uint8.
    """

    def read(self, data_root: Path) -> RawDataset | ListedDataset:
        path = data_root / self.options.path
        if self.options.sha256 is not None and path.exists():
            check_sha256(path, self.options.sha256)
        return self._list(path) if self.options.packed else self._read(path)

    def _read(self, path: Path) -> RawDataset:
        seen = _Seen(path, self.options)
        found = (encoded(seen.called(entry.parts), entry) for entry in seen.images())
        images = decode_images(found, self.options.image_size, self.options.word())
        labels, splits, classes = self._place(path, seen)
        if self.options.train_fraction < 1:
            used, labels, splits = _only_used(labels, splits)
            images = images[used]
        return RawDataset(images, labels, splits, classes, tuple(seen.skipped), self._columns(labels, classes))

    def _list(self, path: Path) -> ListedDataset:
        """Reads the names alone, so that what is unfit is told before any image is packed."""
        seen = _Seen(path, self.options)
        deque(seen.images(), maxlen=0)
        labels, splits, classes = self._place(path, seen)
        used, labels, splits = _only_used(labels, splits)

        def read(start: int) -> Iterator[Encoded]:
            again, row = _Seen(path, self.options), 0
            for number, entry in enumerate(again.images()):
                if row == len(used):
                    return
                if number == used[row]:
                    if entry.parts != seen.names[number]:
                        raise DataError(f"{seen.called(entry.parts)}: came while the data were read. Run it again.")
                    if row >= start:
                        yield encoded(seen.called(entry.parts), entry)
                    row += 1

        return ListedDataset(
            labels,
            splits,
            classes,
            self.options.image_size,
            name=lambda row: "/".join(seen.names[used[row]]),
            read=read,
            damaged=self.options.damaged,
            skipped=tuple(seen.skipped),
            columns=self._columns(labels, classes),
        )

    def _columns(self, labels: np.ndarray, classes: list[str]) -> dict[str, RawColumn]:
        word, levels = self.options.word(), self.options.levels()
        columns = columns_above(levels, labels, classes, word)
        for column, level in levels.items():
            held = {group: set(members) & set(classes) for group, members in level.items()}
            if alone := [printable(group) for group, members in held.items() if len(members) == 1]:
                log.warning("%s: `%s`: groups of one class: %s", word, column, ", ".join(alone))
            absent = sorted({name for members in level.values() for name in members} - set(classes))
            if absent and isinstance(self.options.hierarchy, dict) and self.options.classes is None:
                log.warning(
                    "%s: `%s`: no class `%s`. %s", word, column, printable(absent[0]), suggest(absent[0], classes)
                )
        return columns

    def _place(self, path: Path, seen: "_Seen") -> tuple[np.ndarray, dict[str, np.ndarray], list[str]]:
        """Labels of the images, rows of the splits, and classes."""
        if not seen.layout.holders:
            raise DataError(f"{path}: holds no images. Found {seen.layout.found()}.{seen.nested()}")
        # An archive can hold a name twice; as in tar itself, the last one counts.
        row_of = {name: row for row, name in enumerate(seen.names)}
        placed = seen.layout.resolve(row_of)
        seen.skipped += [f"{seen.called(name)}: not in a class's folder" for name in placed.stray]
        labels = np.full(len(seen.names), -1, dtype=np.int64)
        splits = {}
        for split, by_class in placed.splits.items():
            rows = [[row_of[name] for name in sorted(by_class.get(name_, ()))] for name_ in placed.classes]
            for label, members in enumerate(rows):
                labels[members] = label
            splits[split] = np.array([row for members in rows for row in members], dtype=np.int64)
        if self.options.test is None:
            splits = self._split_off(path, splits["train"], labels, placed.classes)
        if self.options.train_fraction < 1:
            generator = torch.Generator().manual_seed(self.options.seed)
            train = splits["train"]
            kept = label_subset(torch.from_numpy(labels[train]), self.options.train_fraction, generator)
            splits["train"] = train[kept.numpy()]
        return labels, splits, placed.classes

    def _split_off(self, path: Path, rows: np.ndarray, labels: np.ndarray, classes: list[str]) -> dict[str, np.ndarray]:
        """Splits `test_fraction` off, of each class alike."""
        generator = torch.Generator().manual_seed(self.options.seed)
        tested = label_subset(torch.from_numpy(labels[rows]), self.options.test_fraction, generator).numpy()
        splits = {"train": np.delete(rows, tested), "test": rows[tested]}
        left = np.bincount(labels[splits["train"]], minlength=len(classes))
        for name, count in zip(classes, left, strict=True):
            if count == 0:
                raise DataError(
                    f"{path}: class `{printable(name)}` has too few images to split `test_fraction` off. "
                    "Add some, lower `test_fraction`, or leave the class out with `classes`."
                )
        return splits


class _Seen:
    """The images of a source that are wanted, and what is noted while they go by.

    Attributes:
        names: Of the images, as they came.
        skipped: What was passed over, and why.
    """

    def __init__(self, path: Path, options: ImageFolderOptions) -> None:
        self.path = path
        self.called = name_in(path)
        self.layout = Layout(path, options.train, options.test, options.classes)
        self.names: list[Parts] = []
        self.skipped: list[str] = []
        self.archive: Parts | None = None

    def nested(self) -> str:
        """What to do where the images lie in an archive within; nothing where there is none."""
        if self.archive is None:
            return ""
        return f" `{printable('/'.join(self.archive))}` is an archive, and none is opened within another: unpack it."

    def images(self) -> Iterator[Entry]:
        for entry in entries(self.path):
            if ignored(entry.parts):
                continue
            if entry.refused is not None:
                self.skipped.append(f"{self.called(entry.parts)}: {entry.refused}")
            elif entry.read is None:
                self.layout.note(entry.parts)
            elif not is_image(entry.parts):
                self.layout.note(entry.parts[:-1])
                self.skipped.append(f"{self.called(entry.parts)}: not an image")
                if self.archive is None and entry.parts[-1].lower().endswith((".zip", *TARS)):
                    self.archive = entry.parts
            elif self.layout.wants(entry.parts):
                self.names.append(entry.parts)
                yield entry


def _only_used(
    labels: np.ndarray, splits: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Rows that are in a split, ascending, and labels and splits of these alone."""
    used = np.sort(np.concatenate(list(splits.values())))
    return used, labels[used], {name: np.searchsorted(used, rows) for name, rows in splits.items()}
