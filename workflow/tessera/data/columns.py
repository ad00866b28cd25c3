"""Label columns: what one holds by its kind, how it is checked, and how it lies on disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tessera.data.labels import Column, Kind
from tessera.errors import DataError

UNLABELED = -1  # an image without a class
NO_CLASS = 255  # a pixel without one; of a depth or a disparity that is 0, of a normal the zero vector


class RawColumn(NamedTuple):
    """A label column as read.

    Attributes:
        classes: Names of the classes, by label; none where the column has no classes.

    Shape:
        labels, by kind:
            class: (N,) int64, class indices; -1 where there is none.
            class_map: (N, H, W) uint8, class indices; 255 where there is none.
            depth_map, disparity_map: (N, H, W) float16, in metres or the dataset's own unit; 0 where there is none.
            normal_map: (N, H, W, 3) float16, unit vectors, x to the right, y down, z into the scene, of the side that
                is seen; 0 where there is none.
    """

    labels: np.ndarray
    classes: list[str]
    kind: Kind = "class"


class _Form(NamedTuple):
    """How values of a kind are kept: their type, the sides of one image's beside height and width, and what is none."""

    dtype: np.dtype[Any]
    beside: tuple[int, ...]
    none: int


_FORMS: Mapping[Kind, _Form] = {
    "class_map": _Form(np.dtype(np.uint8), (), NO_CLASS),
    "depth_map": _Form(np.dtype(np.float16), (), 0),
    "disparity_map": _Form(np.dtype(np.float16), (), 0),
    "normal_map": _Form(np.dtype(np.float16), (3,), 0),
}


def none_of(kind: Kind) -> int:
    """What a map of this kind has where a pixel has no label."""
    return _FORMS[kind].none


def unlabelled_maps(kind: Kind, number: int, shape: tuple[int, int]) -> np.ndarray:
    """As many maps of this kind without any label, of this height and width, to be filled."""
    form = _FORMS[kind]
    return np.full((number, *shape, *form.beside), form.none, dtype=form.dtype)


def check_columns(
    number: int, columns: Mapping[str, RawColumn], shape: tuple[int, int] | None, train: np.ndarray
) -> None:
    """Compares label columns with the images.

    Args:
        shape: Height and width of the images, px; None where they are packed, and can have no maps.
        train: Rows of the training split.

    Raises:
        DataError: If one does not fit, or its name is no word.
    """
    for name, column in columns.items():
        if not name.isidentifier() or name == "class":
            raise DataError(f"label column `{name}` should be called by a word, and not `class`")
        if column.kind == "class":
            _check_classes(number, name, column)
        elif shape is None:
            raise DataError(f"label column `{name}` has maps, which packed images cannot carry: `packed: false`")
        else:
            _check_maps(name, column, (number, *shape), train)


def _check_classes(number: int, name: str, column: RawColumn) -> None:
    labels, classes = column.labels, column.classes
    if labels.shape != (number,) or (number and not UNLABELED <= labels.min() <= labels.max() < len(classes)):
        raise DataError(f"label column `{name}` must have one of {len(classes)} classes, or -1, an image")


def _check_maps(name: str, column: RawColumn, wanted: tuple[int, ...], train: np.ndarray) -> None:
    form, maps = _FORMS[column.kind], column.labels
    if maps.shape != (*wanted, *form.beside) or maps.dtype != form.dtype:
        raise DataError(
            f"label column `{name}` must be {(*wanted, *form.beside)} {form.dtype}, a map an image, of its size, but "
            f"is {maps.shape} {maps.dtype}"
        )
    for row, values in enumerate(maps):
        known = values != form.none
        if column.kind == "class_map":
            if known.any() and (largest := int(values[known].max())) >= len(column.classes):
                raise DataError(
                    f"label column `{name}`: the map of image {row} has class {largest}, but there are "
                    f"{len(column.classes)}, from 0 on, and {form.none} for none: name more classes, or say which "
                    "labels are none"
                )
        elif not np.isfinite(values).all() or (column.kind != "normal_map" and values.min() < 0):
            raise DataError(
                f"label column `{name}`: the map of image {row} has values that are negative or not finite; what is "
                f"not known is {form.none}"
            )
    if len(train) and not look_at_maps(column, train).share:
        raise DataError(
            f"label column `{name}`: no pixel of any training image has a label: is the right folder named, and the "
            "unit right? Else leave the column out"
        )


class MapsSeen(NamedTuple):
    """What the maps of some images hold.

    Attributes:
        share: Of the pixels that have a label, 0 to 1.
        low, high: The least and the largest of the labels; 0 where there is none.
        absent: Names of the classes that no pixel has; none where the column has no classes.
    """

    share: float
    low: float
    high: float
    absent: list[str]


def look_at_maps(column: RawColumn, rows: np.ndarray) -> MapsSeen:
    """Looks at the maps of these rows, by parts: a column may be larger than memory."""
    form = _FORMS[column.kind]
    number, pixels, low, high = 0, 0, np.inf, -np.inf
    counts = np.zeros(NO_CLASS + 1, dtype=np.int64)
    for start in range(0, len(rows), 64):
        maps = column.labels[rows[start : start + 64]]
        known = (maps != form.none).any(axis=-1) if form.beside else maps != form.none
        number, pixels = number + int(known.sum()), pixels + known.size
        if column.classes:
            counts += np.bincount(maps.ravel(), minlength=len(counts))
        if (found := maps[known]).size:
            low, high = min(low, float(found.min())), max(high, float(found.max()))
    absent = [name for name, count in zip(column.classes, counts[: len(column.classes)], strict=True) if not count]
    return MapsSeen(number / max(pixels, 1), low if number else 0.0, high if number else 0.0, absent)


def save_columns(folder: Path, columns: Mapping[str, RawColumn]) -> dict[str, dict[str, Any]]:
    """Writes `columns/<name>.npy` of each, and returns what dataset.json says of them."""
    (folder / "columns").mkdir()
    for name, column in columns.items():
        labels = column.labels.astype(np.int64) if column.kind == "class" else column.labels
        np.save(folder / "columns" / f"{name}.npy", labels)
    return {name: {"kind": column.kind, "classes": column.classes} for name, column in columns.items()}


class StoredColumns:
    """The columns of a dataset on disk; maps stay there until rows of them are asked for.

    Args:
        about: What dataset.json says of them.

    Raises:
        OSError, ValueError, KeyError, EOFError: If they cannot be read.
    """

    def __init__(self, folder: Path, about: Mapping[str, Mapping[str, Any]]) -> None:
        self.columns = {name: Column(of["kind"], tuple(of["classes"])) for name, of in about.items()}
        self._values = {
            name: np.load(folder / f"{name}.npy", mmap_mode=None if of.kind == "class" else "r", allow_pickle=False)
            for name, of in self.columns.items()
        }

    def rows(self, rows: np.ndarray) -> dict[str, Tensor]:
        """The labels of these rows, by name: classes (M,), maps (M, H, W), normals (M, 3, H, W)."""
        found = {}
        for name, values in self._values.items():
            labels = torch.from_numpy(np.ascontiguousarray(values[rows]))
            moved = labels.permute(0, 3, 1, 2).contiguous() if labels.ndim == 4 else labels
            found[name] = moved
        return found
