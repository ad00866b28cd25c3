"""Images of one's own: a folder a class, in a tree or in an archive that is read directly."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from tessera.data.archives import Entry, check_sha256, entries
from tessera.data.datasets.base import DatasetReader, RawDataset
from tessera.data.datasets.layout import Layout, Parts, ignored, is_image
from tessera.data.decode import Encoded, decode_images
from tessera.data.store import label_subset
from tessera.errors import DataError

log = logging.getLogger("tessera")


class ImageFolder(DatasetReader):
    """A tree of one folder a class, or an archive of one, streamed once and never unpacked.

    The split's folder lies at any depth, and images at any depth below the class's: `[…/]<split>/<class>/[…/]image`.
    Rows keep the order in which the source gave them; the splits' rows are sorted by class and name, so that a tree
    and any archive of it give the same dataset.

    Shape:
        images: (N, image_size, image_size, 3) uint8.
    """

    def read(self, data_root: Path) -> RawDataset:
        path = data_root / self.options.path
        if self.options.sha256 is not None and path.exists():
            check_sha256(path, self.options.sha256)
        called = _name_in(path)
        layout = Layout(path, self.options.train, self.options.test, self.options.classes)
        names: list[Parts] = []
        skipped: list[str] = []
        images = decode_images(
            self._encoded(path, layout, names, skipped), self.options.image_size, self.options.word()
        )
        if not layout.holders:
            raise DataError(f"{path}: holds no images. Found {layout.found()}.")

        # An archive can hold a name twice; as in tar itself, the last one counts.
        row_of = {name: row for row, name in enumerate(names)}
        placed = layout.resolve(row_of)
        skipped += [f"{called(name)}: not in a class's folder" for name in placed.stray]
        labels = np.full(len(images), -1, dtype=np.int64)
        splits = {}
        for split, by_class in placed.splits.items():
            rows = [[row_of[name] for name in sorted(by_class.get(name_, ()))] for name_ in placed.classes]
            for label, members in enumerate(rows):
                labels[members] = label
            splits[split] = np.array([row for members in rows for row in members], dtype=np.int64)
        if self.options.test is None:
            splits = self._split_off(path, splits["train"], labels, placed.classes)
        return RawDataset(images, labels, splits, placed.classes, tuple(skipped))

    def _encoded(self, path: Path, layout: Layout, names: list[Parts], skipped: list[str]) -> Iterator[Encoded]:
        """Yields the images that are wanted, and notes their names and what is passed over."""
        called = _name_in(path)
        for entry in entries(path):
            if ignored(entry.parts):
                continue
            if entry.refused is not None:
                skipped.append(f"{called(entry.parts)}: {entry.refused}")
            elif entry.read is None:
                layout.note(entry.parts)
            elif not is_image(entry.parts):
                layout.note(entry.parts[:-1])
                skipped.append(f"{called(entry.parts)}: not an image")
            elif layout.wants(entry.parts):
                names.append(entry.parts)
                yield _encode(called(entry.parts), entry)

    def _split_off(self, path: Path, rows: np.ndarray, labels: np.ndarray, classes: list[str]) -> dict[str, np.ndarray]:
        """Splits `test_fraction` off, of each class alike."""
        generator = torch.Generator().manual_seed(self.options.seed)
        tested = label_subset(torch.from_numpy(labels[rows]), self.options.test_fraction, generator).numpy()
        splits = {"train": np.delete(rows, tested), "test": rows[tested]}
        left = np.bincount(labels[splits["train"]], minlength=len(classes))
        for name, count in zip(classes, left, strict=True):
            if count == 0:
                raise DataError(
                    f"{path}: class `{name}` has too few images to split `test_fraction` off. "
                    "Add some, lower `test_fraction`, or leave the class out with `classes`."
                )
        return splits


def _encode(name: str, entry: Entry) -> Encoded:
    assert entry.read is not None
    if not entry.in_order:
        return Encoded(name, entry.read)
    data = entry.read()
    return Encoded(name, lambda: data)


def _name_in(path: Path) -> Callable[[Parts], str]:
    """What a message calls a file: its path, or the archive's and the member's. Never fails to print."""
    before, after = (f"{path}/", "") if path.is_dir() else (f"{path}: `", "`")

    def name(parts: Parts) -> str:
        return before + "/".join(parts).encode("utf-8", "backslashreplace").decode() + after

    return name
