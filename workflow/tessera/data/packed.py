"""Images kept as they were encoded, in a few large files, and decoded when they are asked for."""

import io
import os
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tessera.data.decode import decode_image, decode_whole
from tessera.data.formats import FORMATS
from tessera.errors import ArtifactError

INDEX, NAMES, SHARD = "index.npy", "names.txt", "images-{:05d}.bin"
ENTRY = np.dtype([("offset", "<u8"), ("name", "<u8"), ("shard", "<u4"), ("length", "<u4"), ("crc", "<u4")])

CHUNK = 8  # images a turn of a thread
AHEAD = 3  # batches decoded before they are asked for
OPEN_FILES = 32

Found = list[tuple[int, bytes]]  # places in a batch, and what is still to be decoded there


class Shards:
    """Encoded images in files of some 256 MB each, of which only what is asked for is read.

    Safe to use from many threads, and after a fork: reads share no position, and no more than 32 files are open.

    Args:
        folder: Holds `images-<shard>.bin`, encoded images end to end; `index.npy`, (N,) of `ENTRY`: where an image
            lies, its CRC-32, and where in `names.txt` its line is; `names.txt`, what each was called at its origin.

    Raises:
        ArtifactError: If a shard is missing or too short.
        OSError, ValueError: If the index cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = np.load(folder / INDEX, mmap_mode="r", allow_pickle=False)
        if self.index.dtype != ENTRY or self.index.ndim != 1:
            raise ValueError(f"{INDEX} is {self.index.dtype}")
        ends = np.zeros(int(self.index["shard"].max(initial=0)) + 1, dtype=np.uint64)
        np.maximum.at(ends, self.index["shard"], self.index["offset"] + self.index["length"])
        for shard, end in enumerate(ends):
            path = folder / SHARD.format(shard)
            size = path.stat().st_size if path.exists() else 0
            if size < end:
                raise ArtifactError(f"{path}: has {size} bytes of {end}. {self._remedy()}")
        self._files: OrderedDict[int, _File] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.index)

    def __reduce__(self) -> tuple[type["Shards"], tuple[Path]]:
        return Shards, (self.folder,)  # another process opens the files for itself

    def name(self, row: int) -> str:
        """What the image was called at its origin, below the dataset's folder."""
        with (self.folder / NAMES).open("rb") as file:
            file.seek(int(self.index["name"][row]))
            return file.readline().decode().rstrip("\n")

    def read(self, row: int) -> bytes:
        """The encoded image, its checksum compared.

        Raises:
            ArtifactError: If it is damaged or cannot be read.
        """
        entry = self.index[row]
        try:
            file = self._file(int(entry["shard"]))  # held until the read is done: another thread may drop it
            data = os.pread(file.number, int(entry["length"]), int(entry["offset"]))
        except OSError as error:
            raise self.damaged(row, f"cannot be read ({error.strerror})") from error
        if len(data) != entry["length"] or zlib.crc32(data) != entry["crc"]:
            raise self.damaged(row, "does not match its checksum (damaged?)")
        return data

    def decode(self, row: int, data: bytes, image_size: int) -> np.ndarray:
        """(image_size, image_size, 3) uint8, of what `read` gave.

        Raises:
            ArtifactError: If it cannot be decoded.
        """
        return self._decoded(row, partial(decode_image, data, image_size))

    def decode_whole(self, row: int, data: bytes) -> np.ndarray:
        """(H, W, 3) uint8, of what `read` gave.

        Raises:
            ArtifactError: If it cannot be decoded.
        """
        return self._decoded(row, partial(decode_whole, data))

    def damaged(self, row: int, reason: str) -> ArtifactError:
        """The error that names shard, image and remedy."""
        entry = self.index[row]
        path, start = self.folder / SHARD.format(entry["shard"]), int(entry["offset"])
        try:
            called = f"image `{self.name(row)}`"
        except (OSError, ValueError):
            called = f"image {row}"
        end = start + int(entry["length"])
        return ArtifactError(f"{path}: {called} (bytes {start} to {end}) {reason}. {self._remedy()}")

    def _decoded(self, row: int, decode: Callable[[], np.ndarray]) -> np.ndarray:
        try:
            return decode()
        except Exception as error:  # Pillow raises many kinds
            raise self.damaged(row, f"cannot be decoded ({' '.join(str(error).split())})") from error

    def _remedy(self) -> str:
        return f"Delete the folder {self.folder}, or move it aside; the next run makes it again."

    def _file(self, shard: int) -> "_File":
        with self._lock:
            file = self._files.pop(shard, None) or _File(self.folder / SHARD.format(shard))
            self._files[shard] = file  # the last one used comes last
            if len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)
            return file


class _File:
    """An open file, closed when nobody holds it any more."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


class PackedImages:
    """Some images of `Shards`, in some order, that behave as a (N, 3, S, S) uint8 tensor does when it is indexed.

    Each is decoded, its shorter side resized to S and its middle cut out: by `decode_image` in threads on the
    processor, the very pixels that an unpacked dataset holds; on a GPU by nvJPEG, within rounding of the same. What
    nvJPEG does not take (PNG, CMYK and the like) is decoded on the processor.

    Args:
        rows: (N,) int64 on the CPU, which images of the shards.
        image_size: S, px.
        device: Where tensors are given.
    """

    dtype = torch.uint8

    def __init__(self, shards: Shards, rows: Tensor, image_size: int, device: torch.device) -> None:
        self.shards, self.rows, self.image_size, self.device = shards, rows, image_size, device

    @classmethod
    def concatenate(cls, parts: Sequence["PackedImages"]) -> "PackedImages":
        """The images of all parts, in order; the parts are of one dataset."""
        first = parts[0]
        assert all(part.shards is first.shards for part in parts)
        return cls(first.shards, torch.cat([part.rows for part in parts]), first.image_size, first.device)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.rows), 3, self.image_size, self.image_size))

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> "PackedImages":
        """The same images, given on another device."""
        return PackedImages(self.shards, self.rows, self.image_size, device)

    def index_select(self, dim: int, index: Tensor) -> "PackedImages":
        """The images of these indices, in their order; nothing is decoded."""
        if dim != 0:
            raise ValueError(f"packed images are chosen along dimension 0, not {dim}.")
        return PackedImages(self.shards, self.rows[index.cpu()], self.image_size, self.device)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        (images,) = self.batches([index])
        return images

    def batches(self, indices: Iterable[Tensor | slice]) -> Iterator[Tensor]:
        """`self[index]` for each index, decoded `AHEAD` batches before they are asked for.

        Raises:
            ArtifactError: If an image is damaged.
        """
        pending: deque[_Batch] = deque()
        try:
            for index in indices:
                rows = self.rows[index.cpu() if isinstance(index, Tensor) else index]
                pending.append(_Batch(self.shards, rows.tolist(), self.image_size, self.device))
                if len(pending) > AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:  # also where nobody asks for the rest
            for batch in pending:
                batch.cancel()


class _Batch:
    """Images that are being decoded."""

    def __init__(self, shards: Shards, rows: list[int], image_size: int, device: torch.device) -> None:
        self.shards, self.rows, self.size, self.device = shards, rows, image_size, device
        self.images = torch.empty((len(rows), 3, image_size, image_size), dtype=torch.uint8)
        pool = _threads(torch.get_num_threads())
        self.parts = [pool.submit(self._fill, start) for start in range(0, len(rows), CHUNK)]
        # A thread of its own, since it waits for the others.
        self.moved = _threads(1, "device").submit(self._on_gpu) if device.type == "cuda" else None

    def result(self) -> Tensor:
        """Waits for the images."""
        if self.moved is not None:
            images, event = self.moved.result()
            stream = torch.cuda.current_stream(images.device)
            stream.wait_event(event)
            images.record_stream(stream)
            return images
        for part in self.parts:
            part.result()
        return self.images.to(self.device)

    def cancel(self) -> None:
        """Does no more than is begun."""
        for part in self.parts:
            part.cancel()
        if self.moved is not None:
            self.moved.cancel()

    def _fill(self, start: int) -> Found:
        """Reads a chunk and decodes it, save what nvJPEG shall."""
        left = []
        for place, row in enumerate(self.rows[start : start + CHUNK], start):
            data = self.shards.read(row)
            if self.device.type == "cuda" and _suits_nvjpeg(data):
                left.append((place, data))
            else:
                self._put(place, data)
        return left

    def _put(self, place: int, data: bytes) -> None:
        pixels = self.shards.decode(self.rows[place], data, self.size)
        np.copyto(self.images[place].numpy(), pixels.transpose(2, 0, 1))

    def _on_gpu(self) -> tuple[Tensor, torch.cuda.Event]:
        from torchvision.io import ImageReadMode, decode_jpeg  # takes seconds, and nothing else here needs it

        left = [item for part in self.parts for item in part.result()]
        # Beside the training's own stream, which waits for the event alone.
        with torch.cuda.stream(torch.cuda.Stream(self.device)):  # type: ignore[no-untyped-call]
            try:
                encoded = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for _, data in left]
                found = decode_jpeg(encoded, mode=ImageReadMode.RGB, device=self.device) if left else []
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:  # nvJPEG refuses some of what libjpeg forgives
                for place, data in left:
                    self._put(place, data)
                left, found = [], []
            images = self.images.to(self.device)
            for (place, _), image in zip(left, found, strict=True):
                images[place] = fit(image, self.size)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        return images, event


def fit(image: Tensor, size: int) -> Tensor:
    """The middle square of an image, resized: what `decode_image` does, on any device.

    Shape:
        image: (3, h, w) uint8.
        returns: (3, size, size) uint8.
    """
    height, width = image.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[:, top : top + side, left : left + side]
    if side == size:
        return square
    resized = F.interpolate(square[None].float(), size=(size, size), mode="bilinear", antialias=True)
    return resized[0].round().clamp(0, 255).to(torch.uint8)


def _suits_nvjpeg(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.format == "JPEG" and image.mode in ("RGB", "L")
    except Exception:  # whatever it is, the processor's path tells it
        return False


_pools: dict[tuple[int, int, str], ThreadPoolExecutor] = {}


def _threads(number: int, purpose: str = "decode") -> ThreadPoolExecutor:
    """The pool of this process: threads do not survive a fork."""
    key = (os.getpid(), number, purpose)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(number, thread_name_prefix=f"tessera-{purpose}")
    return _pools[key]
