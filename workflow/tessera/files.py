"""Writes files so that a reader, or a kill, finds the old one or the new one, never a half; and their checksums.

Content is written to a draft beside its place, `.<name>.<host>.<process>.draft`, and renamed. That holds against the
death of the process, whenever it comes. A power cut may leave the new name without its content, unless `settle` was
called before: what must not be believed then has a checksum.
"""

import os
import platform
import re
import shutil
import time
from contextlib import suppress
from hashlib import file_digest
from pathlib import Path

_DRAFT = re.compile(r"\..*?(?:\.(?P<host>[\w-]+))?\.(?P<process>\d+)\.draft")
_OTHERS_S = 24 * 3600.0  # a draft that no process has touched for so long is nobody's, whatever machine it is from


def replace_text(path: Path, text: str) -> None:
    """Puts a new file in the place of the old one, in one step.

    The old file may be a link into a cache: it is replaced, never written through.
    """
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """The same, of any content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(path)
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    finally:
        with suppress(OSError):  # of a full disk, or one that is gone: the first error says more
            draft.unlink(missing_ok=True)


def draft_of(path: Path) -> Path:
    """Where this process writes what is to take the place of a file or folder."""
    return path.with_name(f".{path.name}.{_host()}.{os.getpid()}.draft")


def remove_drafts(folder: Path, alone: bool = False) -> None:
    """Removes what killed processes left half-written in a folder.

    Spares, for a day, what a process of this machine that lives may be writing, and what is another machine's, which
    may share the folder.

    Args:
        alone: Nobody else writes here, as where a job's lock is held: nothing is spared.
    """
    for draft in list(folder.glob(".*.draft")):
        if alone or _is_abandoned(draft):
            with suppress(OSError):  # another process removes it as well, or it is another user's
                shutil.rmtree(draft) if draft.is_dir() and not draft.is_symlink() else draft.unlink()


def _is_abandoned(draft: Path) -> bool:
    found = _DRAFT.fullmatch(draft.name)
    try:
        if found is None or draft.stat().st_mtime < time.time() - _OTHERS_S:
            return found is not None
    except OSError:
        return False
    return found["host"] == _host() and not _lives(int(found["process"]))


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _host() -> str:
    return re.sub(r"[^\w-]", "-", platform.node()) or "unknown"


def settle(folder: Path) -> None:
    """Waits until a folder's files are on the disk, so that not even a power cut takes them back."""
    for path in [*folder.rglob("*"), folder]:
        with suppress(OSError):  # a file system that cannot promise it
            number = os.open(path, os.O_RDONLY)
            try:
                os.fsync(number)
            finally:
                os.close(number)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
