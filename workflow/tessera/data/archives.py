"""Reads a folder, a tar archive or a zip archive as one stream of files; nothing is ever written to disk."""

import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from tessera.data.datasets.suffixes import TARS
from tessera.data.decode import Encoded
from tessera.errors import DataError
from tessera.files import sha256_of

COMPRESSION = (lzma.LZMAError, zlib.error, EOFError, OSError)
ZIP = (zipfile.BadZipFile, NotImplementedError, RuntimeError)  # damage, an unknown method, a password
DAMAGE = (tarfile.TarError, *ZIP, *COMPRESSION)


@dataclass(frozen=True)
class Entry:
    """One folder or file.

    Attributes:
        parts: Names from the top down to it, relative to the source.
        read: Gives the file's bytes; None for a folder, and for what is not followed.
        in_order: `read` must be called before the next entry is asked for.
        refused: Why it is not followed, if it is not.
    """

    parts: tuple[str, ...]
    read: Callable[[], bytes] | None
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
    reader = _zip if path.name.lower().endswith(".zip") else _tar
    try:
        yield from reader(path)
    except DAMAGE as error:
        raise _damaged(path, error) from error


def name_in(path: Path) -> Callable[[tuple[str, ...]], str]:
    """What a message calls a file: its path, or the archive's and the member's. Never fails to print."""
    before, after = (f"{path}/", "") if path.is_dir() else (f"{path}: `", "`")

    def name(parts: tuple[str, ...]) -> str:
        return before + "/".join(parts).encode("utf-8", "backslashreplace").decode() + after

    return name


def encoded(name: str, entry: Entry) -> Encoded:
    """An image that is read now, where entries must be read in order, else when it is needed."""
    assert entry.read is not None
    if not entry.in_order:
        return Encoded(name, entry.read)
    data = entry.read()
    return Encoded(name, lambda: data)


def check_sha256(path: Path, expected: str) -> None:
    """Compares an archive's checksum.

    Raises:
        DataError: If it differs, or the path is a folder.
    """
    if path.is_dir():
        raise DataError(f"{path}: `sha256` is the checksum of an archive, but this is a folder. Leave it out.")
    if (found := sha256_of(path)) != expected:
        raise DataError(
            f"{path}: sha256 is {found}, but `sha256` says {expected}. "
            "Damaged, or another version: get it again, or correct `sha256`."
        )


def _tree(root: Path) -> Iterator[Entry]:
    for folder, folders, files in os.walk(root, followlinks=True):
        parts = Path(folder).relative_to(root).parts
        yield Entry(parts, None)
        # A link to a folder above itself would never end.
        real = Path(folder).resolve()
        folders[:] = [name for name in sorted(folders) if not _leads_up(Path(folder, name), real)]
        for name in sorted(files):
            yield Entry((*parts, name), _reading(Path(folder, name)))


def _leads_up(folder: Path, parent: Path) -> bool:
    return folder.is_symlink() and parent.is_relative_to(folder.resolve())


def _reading(file: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return file.read_bytes()
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror}). Remove or replace it.") from error

    return read


def _tar(path: Path) -> Iterator[Entry]:
    suffix = max((end for end in TARS if path.name.lower().endswith(end)), key=len, default=None)
    if suffix is None:
        raise DataError(f"{path}: not an archive of a known kind. Known: a folder, .zip, {', '.join(TARS)}.")
    if suffix == ".tar" and path.stat().st_size % tarfile.BLOCKSIZE:
        raise tarfile.ReadError("not a whole number of blocks")
    # Decompressed by the library's own reader: tarfile's takes the end of a cut-off file for the end of the archive.
    with TARS[suffix](path, "rb") as stream:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 18) as archive:
            while (member := archive.next()) is not None:
                cast(Any, archive).members.clear()  # kept by tarfile for seeking, which a stream cannot
                yield _tar_entry(path, archive, member)
        while stream.read(1 << 20):  # to the end, so that the checksum there is compared
            pass


def _tar_entry(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    parts, refused = _safe(member.name)
    if refused is None and not (member.isdir() or member.isreg()):
        refused = "a link" if member.islnk() or member.issym() else "a device"
    if refused is not None or member.isdir():
        return Entry(parts, None, refused=refused)
    return Entry(parts, _guarded(path, lambda: cast(IO[bytes], archive.extractfile(member)).read()), in_order=True)


def _zip(path: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            # Some programs on Windows write backslashes.
            parts, refused = _safe(member.filename.replace("\\", "/"))
            if refused is None and stat.S_ISLNK(member.external_attr >> 16):
                refused = "a link"
            if refused is not None or member.is_dir() or member.filename.endswith("\\"):
                yield Entry(parts, None, refused=refused)
            else:
                yield Entry(parts, _guarded(path, partial(archive.read, member)), in_order=True)


def _guarded(path: Path, read: Callable[[], bytes]) -> Callable[[], bytes]:
    def guarded() -> bytes:
        try:
            return read()
        except DAMAGE as error:
            raise _damaged(path, error) from error

    return guarded


def _safe(name: str) -> tuple[tuple[str, ...], str | None]:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or (parts and parts[0].endswith(":")):
        return parts, "leads out of the archive"
    return parts, None


def _damaged(path: Path, error: BaseException) -> DataError:
    if isinstance(error, OSError) and error.errno is not None:
        return DataError(f"{path}: cannot be read ({error.strerror}).")
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{path}: damaged or incomplete ({reason}). Get it again.")
