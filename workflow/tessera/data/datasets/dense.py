"""Images whose every pixel is labelled: from a tree or an archive of them, each with its maps beside it."""

import logging
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tessera.data.archives import check_sha256, encoded, entries, name_in
from tessera.data.columns import RawColumn, unlabelled_maps
from tessera.data.datasets.base import DatasetReader, RawDataset
from tessera.data.datasets.dense_layout import IMAGE, DenseLayout, Sample
from tessera.data.datasets.dense_maps import JPEG, MapForm, UnfitMapError, decode_pixels, form_of, read_values
from tessera.data.datasets.layout import Parts, ignored
from tessera.data.datasets.options.dense import MOST_CLASSES, NYUV2_CLASSES, ClassMapOptions, MapOptions
from tessera.data.decode import REPORT, Encoded, explained, map_in_threads
from tessera.data.reading import MOST_LIST, printable
from tessera.errors import DataError

log = logging.getLogger("tessera")

CHUNK = 8  # files a turn of a thread: some have many pixels


class _File(NamedTuple):
    """A file that is read now or later, and the row and column that it is of."""

    row: int
    column: str
    data: Encoded


class _Read(NamedTuple):
    """What a file gave, what it is called, and the height and width that it has itself."""

    row: int
    column: str
    name: str
    labels: np.ndarray
    size: tuple[int, int]


class DenseReader(DatasetReader):
    """Images with maps beside them, streamed twice: once for the names, so that what lacks is told first, once for all.

    Rows are the training images, then those for testing, each in the order of their names, so that a tree and any
    archive of it give the same dataset.
    """

    @abstractmethod
    def forms(self, texts: Mapping[str, str]) -> dict[str, MapForm]:
        """How the files of each label column become labels.

        Args:
            texts: What lies in the text files that `wanted_texts` names.
        """

    def wanted_texts(self) -> set[str]:
        """Files of the data that say what classes are called."""
        return set()

    def made_of(self, column: str) -> str:
        """The column whose files this one is made of."""
        return column

    def read(self, data_root: Path) -> RawDataset:
        path = data_root / self.options.path
        if (sha256 := getattr(self.options, "sha256", None)) is not None and path.exists():
            check_sha256(path, sha256)
        layout, texts, skipped = self._look(path)
        found = layout.resolve()
        called = name_in(path)
        skipped += [f"{called(parts)}: no image has its name" for parts in layout.alone(found)]
        samples = self._chosen(path, found)
        forms = self.forms(texts)
        train = len(samples["train"])
        in_order = [sample for of in samples.values() for sample in of]
        images, columns = self._fill(path, in_order, forms)
        rows = np.arange(len(in_order))
        return RawDataset(
            images,
            np.full(len(in_order), -1, dtype=np.int64),
            {"train": rows[:train], "test": rows[train:]},
            [],
            tuple(skipped),
            columns,
        )

    def _look(self, path: Path) -> tuple[DenseLayout, dict[str, str], list[str]]:
        """Which files there are, the texts that are wanted, and what is passed over."""
        layout, called, skipped = self.options.layout(path), name_in(path), list[str]()
        wanted, found = self.wanted_texts(), dict[str, tuple[int, str]]()
        for entry in entries(path):
            if ignored(entry.parts) or (entry.read is None and entry.refused is None):
                continue
            if entry.refused is not None:
                skipped.append(f"{called(entry.parts)}: {entry.refused}")
                continue
            for name in wanted:
                tail = Path(name).parts
                if entry.parts[-len(tail) :] == tail and len(entry.parts) < found.get(name, (1 << 30, ""))[0]:
                    assert entry.read is not None
                    found[name] = len(entry.parts), entry.read(MOST_LIST).decode("utf-8-sig", "replace")
            layout.note(entry.parts)
        return layout, {name: text for name, (_, text) in found.items()}, skipped

    def _chosen(self, path: Path, samples: dict[str, list[Sample]]) -> dict[str, list[Sample]]:
        """The images of each split that are wanted."""
        if "test" not in samples:
            samples = self._split_off(path, samples["train"])
        wanted = {"train": self.options.num_train, "test": self.options.num_test}
        return {split: _spaced(path, split, of, wanted[split]) for split, of in samples.items()}

    def _split_off(self, path: Path, samples: list[Sample]) -> dict[str, list[Sample]]:
        number = max(1, round(self.options.test_fraction * len(samples)))
        if number >= len(samples):
            raise DataError(
                f"{path}: {len(samples)} image{'s are' if len(samples) != 1 else ' is'} too few to split "
                "`test_fraction` off. Add some, or name the folder of other images as `test`."
            )
        generator = torch.Generator().manual_seed(self.options.seed)
        tested = set(torch.randperm(len(samples), generator=generator)[:number].tolist())
        return {
            "train": [sample for row, sample in enumerate(samples) if row not in tested],
            "test": [sample for row, sample in enumerate(samples) if row in tested],
        }

    def _fill(
        self, path: Path, samples: Sequence[Sample], forms: Mapping[str, MapForm]
    ) -> tuple[np.ndarray, dict[str, RawColumn]]:
        """Decodes every file to its row."""
        shape = self.options.shape()
        filled = {IMAGE: np.zeros((len(samples), *shape, 3), dtype=np.uint8)}
        filled |= {name: unlabelled_maps(form.kind, len(samples), shape) for name, form in forms.items()}
        made_of = {column: self.made_of(column) for column in forms} | {IMAGE: IMAGE}

        def decode(files: list[_File]) -> list[_Read]:
            return [read for file in files for read in _decoded(file, forms, made_of, shape)]

        seen: dict[int, dict[str, _Read]] = {row: {} for row in range(len(samples))}
        number = 0
        for part in map_in_threads(decode, self._files(path, samples), CHUNK, lambda file: file.data.held):
            for read in part:
                filled[read.column][read.row] = read.labels
                seen[read.row][read.column] = read._replace(labels=read.labels[:0])  # the pixels are kept once
                _compare(seen[read.row])
                number += 1
                if number % REPORT == 0:
                    log.info("%s: %d files decoded", self.options.word(), number)
        for row, sample in enumerate(samples):
            wanted = {IMAGE} | {column for column in forms if made_of[column] in sample.files}
            if gone := wanted - set(seen[row]):
                name = name_in(path)(sample.files[made_of[min(gone)]])
                raise DataError(f"{name}: went while the data were read. Run it again.")
        return filled.pop(IMAGE), {
            column: RawColumn(filled[column], list(form.classes), form.kind) for column, form in forms.items()
        }

    def _files(self, path: Path, samples: Sequence[Sample]) -> Iterator[_File]:
        places: dict[Parts, tuple[int, str]] = {
            parts: (row, column) for row, sample in enumerate(samples) for column, parts in sample.files.items()
        }
        called = name_in(path)
        for entry in entries(path):
            if entry.read is not None and (place := places.get(entry.parts)) is not None:
                yield _File(*place, encoded(called(entry.parts), entry))


def _decoded(
    file: _File, forms: Mapping[str, MapForm], made_of: Mapping[str, str], shape: tuple[int, int]
) -> Iterator[_Read]:
    """What a file gives: an image, or the labels of each column that is made of it."""
    name, data = file.data.name, file.data.read()
    try:
        if file.column == IMAGE:
            pixels, size = explained(lambda read: decode_pixels(read, shape), name, data)
            yield _Read(file.row, IMAGE, name, pixels, size)
            return
        for column in forms:
            if made_of[column] == file.column:
                labels, size = explained(partial(_labels, form=forms[column], shape=shape), name, data)
                yield _Read(file.row, column, name, labels, size)
    except UnfitMapError as error:
        raise DataError(f"{name}: {error}") from error


def _labels(data: bytes, form: MapForm, shape: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    if form.kind == "class_map" and data.startswith(JPEG):
        raise UnfitMapError("classes as JPEG, which changes them. Store them as PNG, from where they were made.")
    values = form.plain(read_values(data))
    height, width = values.shape[:2]
    return form.labels(values, shape), (height, width)


def _compare(seen: Mapping[str, _Read]) -> None:
    """Sees that the maps of an image, as far as they are read, have its size."""
    if (image := seen.get(IMAGE)) is None:
        return
    for read in seen.values():
        if read.size != image.size:
            (height, width), (own_height, own_width) = image.size, read.size
            raise DataError(
                f"{read.name}: is {own_width} x {own_height} px, but its image, `{image.name}`, is {width} x {height} "
                "px. Bring them to one size (a map by the nearest pixel)."
            )


def _spaced(path: Path, split: str, samples: list[Sample], number: int | None) -> list[Sample]:
    """So many of the images, evenly spaced."""
    if number is None:
        return samples
    if number > len(samples):
        raise DataError(f"{path}: split `{split}` has {len(samples)} images, but `num_{split}` is {number}: lower it.")
    return [samples[row] for row in np.linspace(0, len(samples) - 1, number).round().astype(int)]


class DenseFolder(DenseReader):
    """Images of one's own with maps of classes, depth, disparity or normals beside them.

    Shape:
        images: (N, height, width, 3) uint8.
        columns: maps of the same height and width, as `tessera.data.columns.RawColumn` holds them.
    """

    def wanted_texts(self) -> set[str]:
        classes = (getattr(of, "classes", None) for of in self.options.maps.values())
        return {name for name in classes if isinstance(name, str)}

    def forms(self, texts: Mapping[str, str]) -> dict[str, MapForm]:
        return {
            column: form_of(self.options.maps[column], self._names(column, self.options.maps[column], texts))
            for column in sorted(self.options.maps)
        }

    def _names(self, column: str, options: MapOptions, texts: Mapping[str, str]) -> list[str]:
        """Names of a column's stored values, from the first one on."""
        if not isinstance(options, ClassMapOptions):
            return []
        if isinstance(options.classes, int):
            return [str(options.first + label) for label in range(options.classes)]
        if isinstance(options.classes, list):
            return options.classes
        where = f"{self.options.path}: `maps.{column}.classes`"
        if options.classes not in texts:
            raise DataError(f"{where}: no file `{options.classes}` in the data. Name the classes in a list instead.")
        names = [line.strip() for line in texts[options.classes].rstrip().splitlines()]
        if not 1 <= len(names) <= MOST_CLASSES or not all(names):
            what = f"{len(names)} lines" if all(names) else f"line {names.index('') + 1} is empty"
            raise DataError(
                f"{where}: `{printable(options.classes)}` should have a name in each line, of 1 to {MOST_CLASSES}: "
                f"{what}. Correct it, or name the classes in a list."
            )
        return names


class Nyuv2(DenseReader):
    """NYUv2 with 13 classes, depth (m) and normals, from MTAN's tree of arrays or a tree of pictures in its form.

    Source: Silberman et al., ECCV 2012; classes of Couprie et al. 2013; the tree as in Liu, Johns & Davison, CVPR 2019.
    Its `val` is the official test set.

    Shape:
        images: (N, height, width, 3) uint8.
        columns: `segmentation` (N, height, width) uint8, `depth` (N, height, width) float16, `normals` (N, height,
            width, 3) float16.
    """

    def forms(self, texts: Mapping[str, str]) -> dict[str, MapForm]:
        return {column: form_of(of, NYUV2_CLASSES) for column, of in self.options.columns()}
