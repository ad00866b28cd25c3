"""Reads a folder, a tar archive or a zip archive as one stream of files; nothing is ever written to disk."""

import errno
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from tessera.data.datasets.suffixes import TARS
from tessera.data.decode import Encoded
from tessera.data.reading import (
    MOST_BYTES,
    UnfitFileError,
    kind_of,
    printable,
    read_file,
    read_stream,
    refuse_unless_regular,
)
from tessera.data.tars import open_tar
from tessera.errors import DataError
from tessera.files import sha256_of

COMPRESSION = (lzma.LZMAError, zlib.error, EOFError, OSError)
ZIP = (zipfile.BadZipFile, NotImplementedError, RuntimeError)  # damage, an unknown method, a password
DAMAGE = (tarfile.TarError, *ZIP, *COMPRESSION)
MOST_LINKS = 10  # to folders, on the way to a file
TOO_LARGE = f"larger than {MOST_BYTES >> 30} GiB"
ENCRYPTED = 1  # bit of a zip member's flags


@dataclass(frozen=True)
class Entry:
    """One folder or file.

    Attributes:
        parts: Names from the top down to it, relative to the source.
        read: Gives the file's bytes, so many at most; None for a folder, and for what is not followed. Raises
            `UnfitFileError` where this file alone is refused, and `DataError` where nothing more can be read.
        in_order: `read` must be called before the next entry is asked for.
        refused: Why it is not followed, if it is not.
    """

    parts: tuple[str, ...]
    read: Callable[..., bytes] | None
    in_order: bool = False
    refused: str | None = None


def entries(path: Path) -> Iterator[Entry]:
    """Folders and files of a tree, sorted, or of an archive, in its order and in one pass.

    Links and devices in an archive, and members whose name leads out of it, are named and never followed.

    Raises:
        DataError: If it is no folder and no archive of a known kind, or damaged.
    """
    if path.is_dir():
        yield from _tree(path)
        return
    if not path.exists():
        raise DataError(f"{path}: not found. Put it there, or correct `path` or `data_root`.")
    refuse_unless_regular(path)
    reader = _zip if path.name.lower().endswith(".zip") else _tar
    try:
        yield from reader(path)
    except DAMAGE as error:
        raise _damaged(path, error) from error


def name_in(path: Path) -> Callable[[tuple[str, ...]], str]:
    """What a message calls a file: its path, or the archive's and the member's. Never fails to print."""
    before, after = (f"{path}/", "") if path.is_dir() else (f"{path}: `", "`")
    return lambda parts: before + printable("/".join(parts)) + after


def encoded(name: str, entry: Entry) -> Encoded:
    """An image that is read now, where entries must be read in order, else when it is needed."""
    assert entry.read is not None
    if not entry.in_order:
        return Encoded(name, entry.read)
    try:
        data = entry.read()
    except UnfitFileError as error:  # told where it would be decoded: other images are not affected
        return Encoded(name, _raising(error.bare()))
    return Encoded(name, lambda: data, len(data))


def _raising(error: UnfitFileError) -> Callable[..., bytes]:
    def read(most: int = 0) -> bytes:
        raise error

    return read


def check_sha256(path: Path, expected: str) -> None:
    """Compares an archive's checksum.

    Raises:
        DataError: If it differs, or the path is a folder.
    """
    if path.is_dir():
        raise DataError(f"{path}: `sha256` is the checksum of an archive, but this is a folder. Leave it out.")
    refuse_unless_regular(path)
    if (found := sha256_of(path)) != expected:
        raise DataError(
            f"{path}: sha256 is {found}, but `sha256` says {expected}. "
            "Damaged, or another version: get it again, or correct `sha256`."
        )


def _tree(root: Path) -> Iterator[Entry]:
    """Folders before what is in them, files before folders, both sorted; links are followed where that ends."""
    waiting: list[tuple[tuple[str, ...], tuple[Path, ...]]] = [((), (root.resolve(),))]
    while waiting:
        parts, reals = waiting.pop()
        yield Entry(parts, None)
        folder = root.joinpath(*parts)
        try:
            with os.scandir(folder) as found:
                items = sorted(found, key=lambda item: item.name)
        except OSError as error:
            name = printable(str(folder))
            raise DataError(f"{name}: cannot be listed ({error.strerror}). Make it readable, or remove it.") from error
        folders = []
        for item in items:
            below = (*parts, item.name)
            if not item.is_dir():
                refused = _refused(item)
                yield Entry(below, None if refused else _reading(folder / item.name), refused=refused)
            elif not item.is_symlink():
                folders.append((below, (*reals[:-1], reals[-1] / item.name)))
            elif not _leads_back(target := Path(item.path).resolve(), reals):
                folders.append((below, (*reals, target)))
        waiting += reversed(folders)


def _refused(item: os.DirEntry[str]) -> str | None:
    if item.is_file():
        return None
    try:
        return kind_of(item.stat().st_mode)
    except OSError:  # a link to nothing: told by whoever reads it
        return None


def _leads_back(target: Path, reals: tuple[Path, ...]) -> bool:
    """Whether a link leads to a folder on the way to it, which would never end, or through too many links.

    Args:
        reals: Where the way is in truth: each folder that it left by a link, and the present one.
    """
    return len(reals) > MOST_LINKS or any(real.is_relative_to(target) for real in reals)


def _reading(file: Path) -> Callable[..., bytes]:
    return lambda most=MOST_BYTES: read_file(file, most)


def _tar(path: Path) -> Iterator[Entry]:
    suffix = max((end for end in TARS if path.name.lower().endswith(end)), key=len, default=None)
    if suffix is None:
        raise DataError(f"{path}: not an archive of a known kind. Known: a folder, .zip, {', '.join(TARS)}.")
    if suffix == ".tar" and path.stat().st_size % tarfile.BLOCKSIZE:
        raise tarfile.ReadError("not a whole number of blocks")
    # Decompressed by the library's own reader: tarfile's takes the end of a cut-off file for the end of the archive.
    with TARS[suffix](path, "rb") as stream:
        with open_tar(stream) as archive:
            while (member := archive.next()) is not None:
                cast(Any, archive).members.clear()  # kept by tarfile for seeking, which a stream cannot
                yield _tar_entry(path, archive, member)
        while stream.read(1 << 20):  # to the end, so that the checksum there is compared
            pass


def _tar_entry(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    parts, refused = _safe(member.name, member.isdir())
    if refused is None and not (member.isdir() or member.isreg()):
        refused = "a link" if member.islnk() or member.issym() else "a pipe" if member.isfifo() else "a device"
    elif member.size > MOST_BYTES:
        refused = TOO_LARGE
    if refused is not None or member.isdir():
        return Entry(parts, None, refused=refused)
    read = _reader(name_in(path)(parts), lambda: cast(IO[bytes], archive.extractfile(member)))
    return Entry(parts, read, in_order=True)


def _zip(path: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            # Some programs on Windows write backslashes.
            name = member.filename.replace("\\", "/")
            is_folder = name.endswith("/")
            parts, refused = _safe(name, is_folder)
            kind = kind_of(member.external_attr >> 16)
            if refused is None and not is_folder and kind not in (None, "a folder"):
                refused = kind
            elif member.file_size > MOST_BYTES:
                refused = TOO_LARGE
            if refused is not None or is_folder:
                yield Entry(parts, None, refused=refused)
            else:
                yield Entry(parts, _zip_reader(path, archive, member, parts), in_order=True)


def _zip_reader(
    path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, parts: tuple[str, ...]
) -> Callable[..., bytes]:
    name = name_in(path)(parts)
    if member.flag_bits & ENCRYPTED:
        return _raising(UnfitFileError(name, "encrypted", "Unpack it with its password, and pack it again without."))
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # Of bzip2 and LZMA, zipfile decompresses all that it has read: 4 kB can become gigabytes.
        how = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA"}.get(member.compress_type, "an unknown method")
        return _raising(UnfitFileError(name, f"compressed by {how}", "In a zip, deflate alone is read: pack it so."))
    return _reader(name, lambda: archive.open(member))


def _reader(name: str, opened: Callable[[], IO[bytes]]) -> Callable[..., bytes]:
    def read(most: int = MOST_BYTES) -> bytes:
        try:
            with opened() as stream:
                return read_stream(stream, name, most)
        except DAMAGE as error:
            raise _damaged(name, error) from error

    return read


def _safe(name: str, is_folder: bool) -> tuple[tuple[str, ...], str | None]:
    parts = PurePosixPath(name).parts
    if not parts and not is_folder:
        return parts, "has no name"
    if name.startswith("/") or ".." in parts or (parts and parts[0].endswith(":")):
        return parts, "leads out of the archive"
    return parts, None


def _damaged(what: Path | str, error: BaseException) -> DataError:
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # which is a place before the beginning
        return DataError(f"{what}: cannot be read ({error.strerror}).")
    reason = printable(" ".join(str(error).split())) or type(error).__name__
    return DataError(f"{what}: damaged or incomplete ({reason}). Get it again.")
