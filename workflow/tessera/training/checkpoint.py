"""The state of an unfinished training: whole, of this job and of a form that fits, or set aside with a word.

A file is what `torch.save` writes, then a line that says whose it is and how far it came, then the SHA-256 of both: so
`torch.load` reads it as it is. Imports torch only for a state itself: to ask how far a training came costs nothing.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from tessera import shortages
from tessera.errors import TesseraError
from tessera.files import draft_of

log = logging.getLogger("tessera")

T = TypeVar("T")

_HEX = 64  # digits of a SHA-256
_MOST_SAID = 4096  # bytes of the last two lines


class Checkpoint:
    """The state of an unfinished training, in a folder that is no declared output; replaced in one step.

    A state belongs to the job that the folder around `folder` is named after: the name ends with the job's key, which
    holds settings, inputs, trial and the stage's version. The code's hash is no part of it: most edits of the package
    leave a state what it is, and where its form changes, it does not fit, which is found when it is applied.

    Args:
        folder: Folder of this job's resume state; None keeps nothing.
        name: Of the file, without `.pt`.
    """

    def __init__(self, folder: Path | None, name: str = "state") -> None:
        self.path = None if folder is None else folder / f"{name}.pt"

    def resume(self, start: Callable[[], T], go_on: Callable[[T, dict[str, Any]], None]) -> T:
        """A training as its last state left it, or one that starts anew.

        Args:
            start: Makes the training, always the same: it seeds what it draws.
            go_on: Puts a state into it, and raises whatever it likes where the state does not fit. What it had put
                there by then is lost with the training: another is made.
        """
        training = start()
        state = self.load()
        if state is None:
            return training
        try:
            go_on(training, state)
        except Exception as error:
            if _is_shortage(error):
                raise
            self._set_aside(f"does not fit this training ({_reason(error)})")
        else:
            return training
        del training, state  # before another takes its memory
        return start()

    def load(self) -> dict[str, Any] | None:
        """The last saved state, on the CPU, or None; one that is damaged or another job's is set aside with a warning.

        Raises:
            TesseraError: If the file cannot be read at all: the state may be whole, and days of work.
        """
        if self.path is None or not self.path.exists():
            return None
        import torch

        try:
            with self.path.open("rb") as file:
                about = _check(file)
            owner = about["job"]
            if owner != self._owner:
                raise ValueError(f"it is the state of {owner}")
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise TypeError(f"it holds a {type(state).__name__}, but should hold a dict")
        except FileNotFoundError:  # set aside by a process that shares the training
            return None
        except OSError as error:
            raise TesseraError(
                f"{self.path}: cannot be read ({error.strerror or error}). Run snakemake again; or delete the file, "
                "and the training starts anew."
            ) from error
        except Exception as error:  # whatever a damaged file raises
            if _is_shortage(error):
                raise
            self._set_aside(f"cannot be used ({_reason(error)})")
            return None
        return state

    def save(self, state: Mapping[str, Any], reached: str = "") -> None:
        """Keeps the state; a kill at any moment leaves the old one or the new one.

        Args:
            reached: How far it came, such as `epoch 3 of 10`.
        """
        if self.path is None:
            return
        import torch

        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = draft_of(self.path)
        try:
            with _own_checksum_alone():
                torch.save(state, draft)
            with draft.open("r+b") as file:
                digest = file_digest(file, "sha256")
                about = b"\n" + json.dumps({"job": self._owner, "reached": reached}).encode() + b"\n"
                digest.update(about)
                file.write(about + digest.hexdigest().encode() + b"\n")
            os.replace(draft, self.path)
        finally:
            draft.unlink(missing_ok=True)

    @property
    def _owner(self) -> str:
        return "" if self.path is None else self.path.absolute().parent.parent.name

    def _set_aside(self, why: str) -> None:
        assert self.path is not None
        aside = self.path.with_suffix(".damaged")
        with suppress(FileNotFoundError):  # a process that shares the training was quicker
            os.replace(self.path, aside)
            log.warning("%s %s; moved to %s, training starts anew", self.path, why, aside.name)


def reached(folder: Path) -> str:
    """How far the training came whose states lie in this folder, such as `epoch 3 of 10`; nothing where none lies."""
    newest = ("", 0.0)
    for path in folder.glob("*.pt"):
        with suppress(OSError, ValueError, KeyError), path.open("rb") as file:
            about, changed = _last_lines(file)[1]["reached"], path.stat().st_mtime
            newest = max(newest, (str(about), changed), key=lambda found: found[1])
    return newest[0]


def _check(file: BinaryIO) -> dict[str, Any]:
    """What a state says of itself.

    Raises:
        ValueError: If it does not match its checksum, or has none.
    """
    length, about, stated = _last_lines(file)
    digest, left = sha256(), length
    file.seek(0)
    while left > 0 and (some := file.read(min(left, 2**20))):
        digest.update(some)
        left -= len(some)
    if digest.hexdigest() != stated:
        raise ValueError("it does not match its checksum: damaged?")
    return about


def _last_lines(file: BinaryIO) -> tuple[int, dict[str, Any], str]:
    """Bytes that the checksum is of, what the last line but one says, and the checksum."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _MOST_SAID))
    words = file.read().split(b"\n")
    if len(words) < 4 or words[-1] != b"" or len(words[-2]) != _HEX:
        raise ValueError("it has no checksum: it is damaged, or of an older version")
    try:
        about, stated = json.loads(words[-3]), words[-2].decode("ascii")
    except ValueError:
        about = stated = None
    if not isinstance(about, dict) or stated is None:
        raise ValueError("it does not say whose it is: damaged?")
    return size - _HEX - 1, about, stated


@contextmanager
def _own_checksum_alone() -> Iterator[None]:
    """Lets torch leave out its own checksums, which it never reads, and which take longer than ours."""
    import torch

    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


def _is_shortage(error: Exception) -> bool:
    """Whether memory or disk ran out, which says nothing of the state."""
    return shortages.describe(error) is not None


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    text = text if len(text) <= 200 else f"{text[:200]} …"
    return f"no {text}" if isinstance(error, KeyError) else text or type(error).__name__
