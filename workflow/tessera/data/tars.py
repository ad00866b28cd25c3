"""Opens tar archives as streams, more warily than tarfile does. Never imports torch."""

import tarfile
from typing import IO, Any, Self, cast

HEADERS = (  # of names that a tar archive's blocks do not hold, and the like
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
MOST_HEADER = 2**20  # bytes of one


def open_tar(stream: IO[bytes]) -> tarfile.TarFile:
    """A tar archive that is read from the first member to the last.

    Raises:
        tarfile.TarError, EOFError: As everything that is done with it, where it is damaged or cut off.
    """
    return tarfile.open(fileobj=cast(Any, _Ending(stream)), mode="r|", bufsize=1 << 18, tarinfo=_Member)


class _Ending:
    """A stream whose end is told once: tarfile would look for a member of 10^18 bytes behind it, for years."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.ended = stream, False

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        if not data and self.ended:
            raise EOFError("unexpected end of data")
        self.ended = not data
        return data


class _Member(tarfile.TarInfo):
    """A member whose header is looked at more closely than tarfile does."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            # tarfile takes a damaged header, and a file that was cut off between members, for the archive's end.
            reason = ("cut off" if archive.offset else "empty file") if str(error) == "empty header" else str(error)
            raise tarfile.ReadError(reason) from error

    def _proc_member(self, archive: tarfile.TarFile) -> Self:  # meant to be overridden, as tarfile says
        if self.type in HEADERS and self.size > MOST_HEADER:  # which is read whole, whatever its size
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]
