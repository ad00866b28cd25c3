"""Decodes images of any kind to uint8 RGB of one size, several at a time."""

import io
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from tessera.data.formats import FORMATS, READ, other_form
from tessera.errors import DataError

log = logging.getLogger("tessera")

T = TypeVar("T")
R = TypeVar("R")

CHUNK = 64  # images a turn of a thread
CHUNK_HELD, HELD = 2**28, 2**30  # bytes of encoded images that wait in memory, of a turn and of all, and one image more
REPORT = 5_000  # images a line of the log


class Encoded(NamedTuple):
    """An image that is not yet decoded.

    Attributes:
        name: What an error message calls it.
        read: Gives the file's bytes; called once, in any thread.
        held: Bytes that it keeps in memory until then.
    """

    name: str
    read: Callable[[], bytes]
    held: int = 0


def decode_images(encoded: Iterable[Encoded], image_size: int, what: str) -> np.ndarray:
    """Decodes images as they come, on as many threads as torch may use.

    Args:
        encoded: Read lazily, no further ahead than the threads need.
        image_size: Height and width, px.
        what: First word of the log's lines.

    Shape:
        returns: (N, image_size, image_size, 3) uint8, in the order in which they came.

    Raises:
        DataError: If an image cannot be read or decoded.
    """
    images, count, reported = np.empty((CHUNK, image_size, image_size, 3), dtype=np.uint8), 0, 0
    decode = partial(_decode_chunk, image_size=image_size)
    for decoded in map_in_threads(decode, encoded, CHUNK, lambda image: image.held):
        if count + len(decoded) > len(images):
            # Grows in place: the number of images is not known, and two copies may not fit in memory.
            images.resize((len(images) * 5 // 4 + CHUNK, *images.shape[1:]), refcheck=False)
        images[count : count + len(decoded)] = decoded
        count += len(decoded)
        if count // REPORT > reported:
            reported = count // REPORT
            log.info("%s: %d images decoded", what, count)
    images.resize((count, *images.shape[1:]), refcheck=False)
    return images


def map_in_threads(
    function: Callable[[list[T]], R], items: Iterable[T], chunk: int, held: Callable[[T], int] = lambda _: 0
) -> Iterator[R]:
    """The function's result for each chunk of the items, in order, on as many threads as torch may use.

    Items are taken no further ahead than the threads need, and than memory should hold.

    Args:
        chunk: Items a turn of a thread, at most.
        held: Bytes that an item keeps in memory.
    """
    source, pending = iter(items), deque[tuple[Future[R], int]]()
    threads = max(1, torch.get_num_threads())
    with ThreadPoolExecutor(threads) as pool:
        try:
            while True:
                part, size = _some(source, chunk, held)
                if part:
                    pending.append((pool.submit(function, part), size))
                if not pending:
                    return
                if part and len(pending) <= 2 * threads and sum(size for _, size in pending) < HELD:
                    continue
                yield pending.popleft()[0].result()
        except BaseException:  # also where nobody asks for the rest
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _some(source: Iterator[T], most: int, held: Callable[[T], int]) -> tuple[list[T], int]:
    """The next items, and the bytes that they hold."""
    part: list[T] = []
    size = 0
    for item in source:
        part.append(item)
        size += held(item)
        if len(part) == most or size >= CHUNK_HELD:
            break
    return part, size


def decode_image(data: bytes, image_size: int | tuple[int, int]) -> np.ndarray:
    """One image, resized, and its middle cut out where it has other proportions.

    Gray becomes RGB, CMYK and palettes are converted, transparency and EXIF orientation are ignored, and 16 bits
    are cut to the upper 8.

    Args:
        image_size: Height and width, px: of a square, or each.

    Shape:
        returns: (H, W, 3) uint8.

    Raises:
        Exception: Whatever Pillow raises for a damaged image.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        # A JPEG far too large is decoded at a fraction of its size, never below twice what is needed.
        opened.draft(None, (2 * width, 2 * height))
        image = _to_rgb(opened)
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(image)


def decode_whole(data: bytes) -> np.ndarray:
    """One image at its own size, otherwise as `decode_image` does.

    Shape:
        returns: (H, W, 3) uint8.

    Raises:
        Exception: Whatever Pillow raises for a damaged image.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        return np.asarray(_to_rgb(opened))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode.startswith("I"):  # 16-bit gray: Pillow itself would clip it
        return Image.fromarray((np.asarray(image).clip(0, 65_535) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P":
        image = image.convert("RGBA")  # a palette can have transparency, about which a direct conversion warns
    return image.convert("RGB")


def _decode_chunk(chunk: list[Encoded], image_size: int) -> np.ndarray:
    return np.stack([_decode(encoded, image_size) for encoded in chunk])


def check_image(encoded: Encoded) -> bytes:
    """Reads an image and decodes it once, a JPEG at an eighth of its size; gives it as it is.

    Raises:
        DataError: If it cannot be read or decoded.
    """

    def decode(data: bytes) -> None:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            opened.draft(None, (1, 1))
            _to_rgb(opened)

    data = encoded.read()
    explained(decode, encoded.name, data)
    return data


def _decode(encoded: Encoded, image_size: int) -> np.ndarray:
    return explained(partial(decode_image, image_size=image_size), encoded.name, encoded.read())


def explained(decode: Callable[[bytes], R], name: str, data: bytes) -> R:
    """What a decoder makes of a file's bytes.

    Args:
        name: What an error message calls the file.

    Raises:
        DataError: If it raises anything; the message says why, as far as the bytes tell.
    """
    try:
        return decode(data)
    except DataError:
        raise
    except Exception as error:  # Pillow raises many kinds
        raise DataError(f"{name}: cannot be decoded {_why(error, data)}") from error


def _why(error: Exception, data: bytes) -> str:
    """The reason, in brackets, and what to do."""
    reason, remedy = " ".join(str(error).split()) or type(error).__name__, "Remove or replace it."
    if not data:
        reason = "empty file"
    elif isinstance(error, UnidentifiedImageError):
        form = other_form(data)
        reason = f"it seems to be {form}, not {READ}" if form else "no image of a known kind"
        remedy = "Convert, remove or replace it." if form else remedy
    elif isinstance(error, Image.DecompressionBombError):
        reason, remedy = reason.partition(", could")[0], "Shrink, remove or replace it."
    elif isinstance(error, MemoryError):
        reason, remedy = "the memory does not suffice for its pixels", "Shrink, remove or replace it."
    return f"({reason}). {remedy}"
