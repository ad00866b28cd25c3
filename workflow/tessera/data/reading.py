"""Reads files whose like may come from anywhere: regular ones, and no more of them than makes sense."""

import errno
import os
import stat
from pathlib import Path
from typing import IO

from tessera.errors import DataError

MOST_BYTES = 2**30  # of an image: the largest that Pillow opens, 178,956,970 px, as it is at 16 bits a channel
MOST_ANNOTATION = 2**24  # some 50,000 boxes
MOST_LIST = 2**26  # some million names
MOST_SHOWN = 200  # characters of a name in a message

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnfitFileError(DataError):
    """One file that is refused: what lies beside it can still be read.

    Args:
        name: What a message calls the file.
    """

    def __init__(self, name: str, reason: str, remedy: str = "Remove or replace it.") -> None:
        super().__init__(f"{name}: {reason}. {remedy}")
        self.name, self.reason, self.remedy = name, reason, remedy

    def __reduce__(self) -> tuple[type["UnfitFileError"], tuple[str, str, str]]:
        return UnfitFileError, (self.name, self.reason, self.remedy)

    def bare(self) -> "UnfitFileError":
        """The same without its traceback, which would keep in memory what was read."""
        return UnfitFileError(self.name, self.reason, self.remedy)


def read_file(path: Path, most: int = MOST_BYTES) -> bytes:
    """The file's bytes.

    Args:
        most: Bytes that it may have.

    Raises:
        UnfitFileError: If it cannot be read, is no regular file or too large.
    """
    name = printable(str(path))
    try:
        if refuse_unless_regular(path) > most:
            raise too_large(name, most)
        with path.open("rb") as file:
            return read_stream(file, name, most)
    except OSError as error:
        raise UnfitFileError(name, f"cannot be read ({error.strerror})") from error


def read_stream(stream: IO[bytes], name: str, most: int = MOST_BYTES) -> bytes:
    """All that is left of a stream.

    Args:
        name: What a message calls it.
        most: Bytes that it may have, whatever was said of its size.

    Raises:
        UnfitFileError: If it has more.
    """
    data = stream.read(min(most, 1 << 20) + 1)
    if len(data) > 1 << 20:  # few are so large: no buffer of the largest size for each
        data += stream.read(most + 1 - len(data))
    if len(data) > most:
        raise too_large(name, most)
    return data


def too_large(name: str, most: int) -> UnfitFileError:
    """The error of a file that has more bytes than it may have."""
    size = f"{most >> 20} MiB" if most < 1 << 30 else f"{most >> 30} GiB"
    return UnfitFileError(name, f"larger than {size}, the most that is read of such a file")


def refuse_unless_regular(path: Path) -> int:
    """Sees that reading a file comes to an end, before it is opened: a pipe waits for ever, and a device may have none.

    Returns:
        Its size, bytes.

    Raises:
        UnfitFileError: If it is no regular file.
        OSError: If it is not there, or cannot be looked at.
    """
    about = path.stat()
    kind = kind_of(about.st_mode)
    if kind == "a folder":
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if kind is not None:
        raise UnfitFileError(printable(str(path)), f"{kind}, not a file")
    return about.st_size


def kind_of(mode: int) -> str | None:
    """What a file is, by its mode; None if it is a regular one, or nothing is said."""
    return _KINDS.get(stat.S_IFMT(mode))


def printable(name: str) -> str:
    """A name in one line, whatever it holds: what cannot be shown is escaped, and the middle of a long one left out.

    >>> printable("a\\nb.png")
    'a\\\\nb.png'
    """
    if len(name) > MOST_SHOWN:
        name = f"{name[: MOST_SHOWN // 2]}…{name[-MOST_SHOWN // 2 :]}"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)
