"""What the files of a map hold, and how its values become labels."""

import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from PIL import Image, ImageOps

from tessera.data.columns import NO_CLASS
from tessera.data.datasets.options.dense import (
    ClassMapOptions,
    DepthMapOptions,
    DisparityMapOptions,
    NormalMapOptions,
)
from tessera.data.decode import decode_image
from tessera.data.formats import FORMATS
from tessera.data.labels import Kind
from tessera.errors import DataError

ARRAY = b"\x93NUMPY"  # first bytes of a .npy file
JPEG = b"\xff\xd8\xff"  # and of a picture whose values are not those that were stored
ORIENTATION = 0x0112  # the tag of EXIF
HALF = float(np.finfo(np.float16).max)
SHORTEST = 0.1  # of a stored normal's length: below it there is no direction


class UnfitMapError(DataError):
    """Why the values of a file are none of its column's, and what to do; the file is named by who reads it."""


def decode_pixels(data: bytes, shape: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """An image, of a picture or of a `.npy` array: (H, W, 3) or (3, H, W), uint8, or floats from 0 to 1.

    Args:
        shape: Height and width that it is to have, px: resized, and its middle cut out.

    Shape:
        returns: (*shape, 3) uint8, and the height and width that it has in the file.

    Raises:
        Exception: Whatever Pillow or numpy raises for a damaged file.
        UnfitMapError: If an array is no image, or a picture is turned by its EXIF orientation.
    """
    if not data.startswith(ARRAY):
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            width, height = opened.size
            turned = opened.getexif().get(ORIENTATION, 1) not in (0, 1)
        if turned:
            raise UnfitMapError(
                "its EXIF orientation turns or mirrors it, and nothing says whether its maps go with that. Turn its "
                "pixels as the maps are, and remove the orientation."
            )
        return decode_image(data, shape), (height, width)
    array = _colours_last(read_values(data))
    if array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise UnfitMapError("floats of an image must be 0 to 1. Divide them by the largest that they can be.")
        array = np.rint(array * 255)
    elif array.dtype != np.uint8:
        raise UnfitMapError(f"an image as {array.dtype}. Store it as uint8, or as floats from 0 to 1.")
    image = Image.fromarray(array.astype(np.uint8))
    if array.shape[:2] != shape:
        image = ImageOps.fit(image, (shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(image), array.shape[:2]


def read_values(data: bytes) -> np.ndarray:
    """The values of a picture or of a `.npy` array, as they are: palettes as indices, 16 bits as 16 bits.

    Shape:
        returns: (H, W) or (H, W, channels); of an array, as it is without axes of length 1.

    Raises:
        Exception: Whatever Pillow or numpy raises for a damaged file.
    """
    if data.startswith(ARRAY):
        array: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
        # Height and width may be 1 as well, but a single channel comes first or last.
        if array.ndim == 3 and array.shape[-1] == 1:
            array = array[..., 0]
        elif array.ndim == 3 and array.shape[0] == 1:
            array = array[0]
        return array
    with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        opened.load()
        if opened.mode in ("RGBA", "LA", "PA"):  # what is transparent has its value all the same
            return np.asarray(opened)[..., :-1].squeeze()
        return np.asarray(opened)


def _colours_last(array: np.ndarray) -> np.ndarray:
    if array.ndim == 3 and array.shape[-1] == 3:
        return array
    if array.ndim == 3 and array.shape[0] == 3:
        return array.transpose(1, 2, 0)
    raise UnfitMapError(f"an array of shape {array.shape}. Store three channels: (H, W, 3).")


def _single(values: np.ndarray) -> np.ndarray:
    """The one channel of a map: also that of a gray picture that was kept in colour."""
    if values.ndim == 3 and values.shape[-1] == 3 and (values == values[..., :1]).all():
        values = values[..., 0]
    if values.ndim != 2:
        what = "colours" if values.ndim == 3 and values.shape[-1] == 3 else f"an array of shape {values.shape}"
        raise UnfitMapError(f"holds {what}, and not one value of each pixel. Store one channel.")
    return values


def nearest(values: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, float]:
    """A map at another size by the nearest pixel, of the window that `decode_image` cuts out of its image.

    Shape:
        values: (H, W) or (H, W, channels).
        returns: (*shape) or (*shape, channels), and how many times wider it became.
    """
    (height, width), (new_height, new_width) = values.shape[:2], shape
    if (height, width) == shape:
        return values, 1.0
    cut_height = min(float(height), width * new_height / new_width)
    cut_width = min(float(width), height * new_width / new_height)
    rows = _centres(height, cut_height, new_height)
    columns = _centres(width, cut_width, new_width)
    return values[rows[:, None], columns], new_width / cut_width


def _centres(size: int, cut: float, number: int) -> np.ndarray:
    found = (size - cut) / 2 + (np.arange(number) + 0.5) * cut / number
    return np.clip(found.astype(np.int64), 0, size - 1)


class MapForm(ABC):
    """How a column's files become labels."""

    kind: ClassVar[Kind]
    classes: Sequence[str] = ()

    def plain(self, values: np.ndarray) -> np.ndarray:
        """What `read_values` gave, as (H, W), or (H, W, 3) of normals.

        Raises:
            UnfitMapError: If it has other axes.
        """
        return _single(values)

    @abstractmethod
    def labels(self, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Labels of one image.

        Shape:
            values: As `plain` gives them.
            returns: (*shape) or (*shape, 3), as `tessera.data.columns.RawColumn` holds them.

        Raises:
            UnfitMapError: If the values are none of this column's.
        """


class ClassForm(MapForm):
    """Classes, by a table of stored values.

    Args:
        classes: Names, by label.
        labels: Stored value to its label; to `NO_CLASS` where it means none.
    """

    kind: ClassVar[Kind] = "class_map"

    def __init__(self, classes: Sequence[str], labels: Mapping[int, int]) -> None:
        self.classes, self._values = classes, [value for value, label in labels.items() if label != NO_CLASS]
        self._low, high = min(labels), max(labels)
        self._table = np.full(high - self._low + 1, -1, dtype=np.int16)
        for value, label in labels.items():
            self._table[value - self._low] = label

    @classmethod
    def of(cls, options: ClassMapOptions, names: Sequence[str]) -> "ClassForm":
        """As the options of a map say: `names` are of the values from `first` on, and none is what `ignore` holds."""
        named = {value: name for value, name in enumerate(names, options.first) if value not in options.ignore}
        labels = {value: label for label, value in enumerate(named)}
        return cls(list(named.values()), labels | dict.fromkeys(options.ignore, NO_CLASS))

    def labels(self, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        # Before it is made smaller: a file is right or wrong whatever the size.
        stored = _whole(values)
        at = stored - self._low
        known = (at >= 0) & (at < len(self._table))
        found = self._table[np.where(known, at, 0)]
        if (wrong := ~known | (found < 0)).any():
            raise UnfitMapError(
                f"class {int(stored[wrong][0])}, but there are {len(self.classes)}, of values {min(self._values)} to "
                f"{max(self._values)}. Name more in `classes`, or what means none in `ignore`."
            )
        return nearest(found.astype(np.uint8), shape)[0]


class PartForm(MapForm):
    """Ten parts of persons and vehicles, of CityScapes Panoptic Parts.

    A stored value is a class's id (two digits), instance (three) and part (two), of which the last ones may be absent.
    """

    kind: ClassVar[Kind] = "class_map"
    classes = ("background", "torso", "head", "arm", "leg", "window", "wheel", "light", "license plate", "chassis")
    PERSONS, VEHICLES = (24, 25), (26, 27, 28)

    def labels(self, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        stored = nearest(_whole(values), shape)[0]
        has_part = stored > 99_999
        of, part = np.where(has_part, stored // 100_000, 0), np.where(has_part, stored % 100, 0)
        person = np.isin(of, self.PERSONS) & (part >= 1) & (part <= 4)
        vehicle = np.isin(of, self.VEHICLES) & (part >= 1) & (part <= 5)
        return np.select([person, vehicle], [part, part + 4], 0).astype(np.uint8)


class DistanceForm(MapForm):
    """Depth: (stored - zero) * unit; 0 where that is not above 0, or the stored value says that it is not known.

    Args:
        unit: Of one stored value.
        zero: Stored value that stands for 0; a stored 0 is not known all the same.
        ignore: Further stored values that are not known.
        pixels: Whether the values count pixels of the stored map, and become smaller with it.
    """

    kind: ClassVar[Kind] = "depth_map"

    def __init__(
        self, unit: float = 1.0, zero: float = 0.0, ignore: Sequence[float] = (), pixels: bool = False
    ) -> None:
        self.unit, self.zero, self.ignore, self.pixels = unit, zero, ignore, pixels

    def labels(self, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        stored, wider = nearest(values, shape)
        # As exact as the file: 65.535 of a file of float32 is not that of float64.
        ignored = np.array(self.ignore, dtype=stored.dtype if stored.dtype.kind == "f" else np.float64)
        known = np.isfinite(stored) & (stored != 0) & ~np.isin(stored, ignored)
        stored = stored.astype(np.float64)
        found = np.where(known, (stored - self.zero) * self.unit * (wider if self.pixels else 1.0), 0)
        if (largest := found.max(initial=0)) > HALF:
            raise UnfitMapError(f"a value of {largest:g}, and {HALF:g} is the most that is kept. Set its `unit`.")
        return np.maximum(found, 0).astype(np.float16)


class DisparityForm(DistanceForm):
    """Disparity, in pixels of the prepared image or another unit."""

    kind: ClassVar[Kind] = "disparity_map"


class NormalForm(MapForm):
    """Unit vectors: (stored - center), over its length; of an array of floats, or with values below 0, the centre is 0.

    Args:
        center: Value of a picture that stands for 0; where all three are 0, there is no normal.
        negate: Axes whose sign is changed.
    """

    kind: ClassVar[Kind] = "normal_map"

    def __init__(self, center: float = 128.0, negate: Sequence[str] = ()) -> None:
        self.center = center
        self.signs = np.array([-1.0 if axis in negate else 1.0 for axis in "xyz"])

    def plain(self, values: np.ndarray) -> np.ndarray:
        return _colours_last(values)

    def labels(self, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        signed = values.dtype.kind == "f" or (values.dtype.kind == "i" and bool((values < 0).any()))
        stored = nearest(values, shape)[0].astype(np.float64)
        known = np.isfinite(stored).all(axis=-1) & (stored != 0).any(axis=-1)
        vectors = np.where(known[..., None], stored, 0)
        if not signed:
            vectors = np.where(known[..., None], (vectors - self.center) / 127, 0)
        elif known.any() and vectors.min() >= 0:
            # Directions of length one may have no coordinate below 0, even everywhere; those halved and moved up have
            # other lengths.
            lengths = np.linalg.norm(vectors[known], axis=-1)
            if (np.abs(lengths - 1) > SHORTEST).mean() > 0.5:
                raise UnfitMapError(
                    "normals without a coordinate below 0, as if stored as (n + 1) / 2. Store n itself, from -1 to 1."
                )
        length = np.linalg.norm(vectors, axis=-1, keepdims=True)
        return np.where(length < SHORTEST, 0, vectors / np.maximum(length, SHORTEST) * self.signs).astype(np.float16)


def _whole(values: np.ndarray) -> np.ndarray:
    """Stored classes as int64; what is no number becomes -1."""
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        values = np.where(finite, values, -1)
        if (broken := values != np.rint(values)).any():
            raise UnfitMapError(f"value {values[broken][0]:g}, which is no class. Store whole numbers.")
    return values.astype(np.int64)


def form_of(options: Any, names: Sequence[str]) -> MapForm:
    """How the files of a column are read.

    Args:
        names: Of its classes, where it has any.
    """
    match options:
        case ClassMapOptions():
            return ClassForm.of(options, names)
        case DisparityMapOptions():
            return DisparityForm(options.unit, options.zero, options.ignore, options.pixels)
        case DepthMapOptions():
            return DistanceForm(options.unit, options.zero, options.ignore)
        case NormalMapOptions():
            return NormalForm(options.center, options.negate)
    raise TypeError(f"no map of kind {options.kind}")
