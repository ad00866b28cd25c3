"""Stand-ins for faces: coloured noise in files that are named as UTKFace's are; and what finds one in another file.

No test holds or shows a real face.
"""

import base64
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

DATE = 20170109150557335
COLORS = np.array([[255, 0, 255], [0, 255, 0]], dtype=np.uint8)  # which no chart uses
NEAR, LEAST = 60, 12  # of 255, a channel's distance; pixels of either colour
URI = re.compile(rb"data:[a-z]+/[a-z.+-]+;base64,([A-Za-z0-9+/=]+)")


def noise(seed: int, side: int = 20) -> bytes:
    """A JPEG of blocks in two colours at random, with noise on each pixel; other seeds are other pixels."""
    random, place = np.random.default_rng(seed), np.arange(side) * 5 // side
    blocks = COLORS[random.integers(0, 2, (5, 5))][place][:, place]
    pixels = (blocks + random.integers(-20, 21, blocks.shape)).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "jpeg", quality=95, subsampling=0)
    return stream.getvalue()


def write_faces(folder: Path, who: Iterable[tuple[int, int, int]], side: int = 20) -> Path:
    """One file for each age, gender and race, all with other pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (age, gender, race) in enumerate(who):
        name = f"{age}_{gender}_{race}_{DATE + number}.jpg.chip.jpg"
        (folder / name).write_bytes(noise(number, side))
    return folder


def everybody(each: int) -> list[tuple[int, int, int]]:
    """So many of each age class, of both genders and all races."""
    return [(10 * age + number % 10, number % 2, (age + number) % 5) for age in range(7) for number in range(each)]


def holding_faces(folder: Path, images: np.ndarray) -> list[str]:
    """Files below a folder that hold pixels of an image: as a picture, in a page, or in an array.

    Shape:
        images: (N, H, W, 3) uint8, those that are looked for.
    """
    rows = list(_rows(images))
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        for content in _contents(path.read_bytes()):
            if _is_picture_of_faces(content) or any(row in content for row in rows):
                found.append(path.relative_to(folder).as_posix())
                break
    return found


def _rows(images: np.ndarray) -> Iterator[bytes]:
    """The upper quarter of each image, as bytes and as floats, the channels of a pixel together or apart."""
    quarter = images[:, : max(1, images.shape[1] // 4)]
    for part in (*quarter, *quarter.transpose(0, 3, 1, 2)[:, 0]):
        yield part.tobytes()
        yield (part.astype(np.float32) / 255).tobytes()


def _contents(data: bytes) -> Iterator[bytes]:
    """A file, what it holds in base64, and what is packed in it."""
    yield data
    for match in URI.finditer(data):
        yield base64.b64decode(match[1])
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield from (archive.read(name) for name in archive.namelist())


def _is_picture_of_faces(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(np.int64)
    except (UnidentifiedImageError, OSError):
        return False
    return all((np.abs(pixels - color).max(axis=1) < NEAR).sum() >= LEAST for color in COLORS.astype(np.int64))
