"""Archives written byte by byte, and what is said of them."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tessera.data import decode
from tessera.data.datasets.base import ListedDataset, RawDataset
from tessera.data.datasets.image_folder import ImageFolder
from tessera.data.datasets.options.image_folder import ImageFolderOptions
from tessera.data.prepare import check_names
from tessera.errors import DataError

GOOD = ("train/a/1.png", "train/a/2.png", "train/b/1.png", "test/a/1.png", "test/b/1.png")
TARS: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes, ".tar.gz": gzip.compress, ".tar.bz2": bz2.compress, ".tar.xz": lzma.compress,
}  # fmt: skip


def png(value: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def answer(path: Path, **options: Any) -> tuple[str, int]:
    """What is said, on one line a thing, and how many training images are read; packed and unpacked alike."""
    before = sorted(path.parent.rglob("*"))
    said, number = [], -1
    for packed in (False, True):
        reader = ImageFolder(ImageFolderOptions(path=path.name, image_size=8, packed=packed, **options))
        try:
            found = reader.read(path.parent)
            assert isinstance(found, RawDataset | ListedDataset)
            check_names(found.classes, "data")
            if isinstance(found, ListedDataset):
                for encoded in found.read(0):
                    decode.check_image(encoded)
            assert number in (-1, len(found.splits["train"]))
            number = len(found.splits["train"])
            lines = list(found.skipped)
        except DataError as error:
            lines = [str(error)]
        said.append("\n".join(lines))
        assert all(line.isprintable() and len(line) < 900 for line in lines), lines
    assert said[0] == said[1] or all("damaged or incomplete (unexpected end of data)" in words for words in said)
    assert b"secret" not in said[0].encode()
    assert sorted(path.parent.rglob("*")) == before
    return said[0], number


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes | None = None, **about: Any) -> bytes:
    """A member as it lies in an archive."""
    info = tarfile.TarInfo(name)
    content = (png() if kind == tarfile.REGTYPE else b"") if data is None else data
    info.type, info.size = kind, len(content)
    form = about.pop("form", tarfile.GNU_FORMAT)
    for key, value in about.items():
        setattr(info, key, value)
    return info.tobuf(form, "utf-8", "surrogateescape") + content + bytes(-len(content) % 512)


def raw(name: str, kind: bytes, size: bytes) -> bytes:
    """A header alone, which says any size."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    block[124:136], block[156:157], block[148:156] = size, kind, b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


def octal(size: int) -> bytes:
    return f"{size:011o}\0".encode() if 0 <= size < 8**11 else (size % 256**12 | 0x80 << 88).to_bytes(12)


def base256(size: int) -> bytes:
    return b"\x80" + size.to_bytes(11) if size >= 0 else b"\xff" + (256**11 + size).to_bytes(11)


def pax(**values: str) -> bytes:
    return member("train/b/9.png", form=tarfile.PAX_FORMAT, pax_headers=values)


OUT, LINK = "leads out of the archive", ": a link"


def write_tar(path: Path, extra: bytes, end: bytes = bytes(1024)) -> Path:
    """The good images with something between them."""
    first, *rest = (member(name) for name in GOOD)
    path.write_bytes(TARS["".join(path.suffixes)](b"".join([first, extra, *rest, end])))
    return path


Member = tuple[zipfile.ZipInfo | str, bytes]
Change = Callable[[bytearray], None]


def write_zip(path: Path, *extra: Member, change: Change | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in [(name, png(3)) for name in GOOD] + list(extra):
            archive.writestr(name, data)
    if change is not None:
        content = bytearray(path.read_bytes())
        change(content)
        path.write_bytes(content)
    return path


def zipped(name: str, mode: int = 0, method: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr, info.compress_type = mode << 16, method
    return info


def last(offset: int, form: str, value: int, headers: str = "cl") -> Callable[[bytearray], None]:
    """Changes a field of the last member in the directory (c), whose offset is given, and before the data (l)."""

    def change(content: bytearray) -> None:
        if "c" in headers:
            struct.pack_into(form, content, content.rindex(b"PK\1\2") + offset, value)
        if "l" in headers:
            struct.pack_into(form, content, content.rindex(b"PK\3\4") + offset - 2, value)

    return change


def end(offset: int, form: str, value: int) -> Callable[[bytearray], None]:
    return lambda content: struct.pack_into(form, content, content.rindex(b"PK\5\6") + offset, value)


NINE = "train/a/9.png"
