"""Lets a piece of work die, or fail for want of room, at the n-th thing that it does to files.

Work runs in a forked child, which counts through Python's audit events what would change a folder: files opened to be
written, renamed, linked or removed, folders made or removed. Libraries that write from C are not seen.

    for fault in every_fault("half"):
        if not interrupted(work, folder, fault):
            break  # nothing was left to interrupt
        assert whatever must hold, though the work died
        finished(work)
        assert whatever must hold, now that it was run again
"""

import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOWS = ("before", "half", "full")
_DIED, _FAILED = 99, 98
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGING = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
_TAKING_ROOM = {"open", "os.mkdir", "os.link", "os.symlink"}  # on a full disk, all else still works


@dataclass(frozen=True)
class Fault:
    """What happens at which operation.

    Attributes:
        at: Number of the operation, from 1.
        how: `before`: the process dies before it. `half`: the process dies once it is done; of a file that it opens,
            when the next operation comes, and half of its content is lost. `full`: from then on the disk is full.
    """

    at: int
    how: str


def every_fault(how: str, step: int = 1) -> Iterator[Fault]:
    """One at every operation, or at every `step`-th; without end."""
    at = 1
    while True:
        yield Fault(at, how)
        at += step


def interrupted(work: Callable[[], object], folder: Path, fault: Fault) -> bool:
    """Whether work in a child of this process came to its fault in `folder`; False: it was done before.

    Raises:
        AssertionError: If it failed for another reason.
    """
    return _in_child(work, _Interruption(os.path.realpath(folder), fault)) == _DIED


def finished(work: Callable[[], object]) -> None:
    """Runs work in a child, undisturbed, so that it leaves nothing in this process.

    Raises:
        AssertionError: If it failed.
    """
    assert _in_child(work, None) == 0


def files(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, by its name within, and its content."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@dataclass
class _Interruption:
    folder: str
    fault: Fault
    count: int = 0
    opened: str = ""  # the file of which half is to be lost
    struck: bool = field(default=False)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._changes(event, arguments):
            return
        self.count += 1
        if self.fault.how == "full":
            if self.count >= self.fault.at and event in _TAKING_ROOM:
                self.struck = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))
        elif self.fault.how == "before":
            if self.count == self.fault.at:
                os._exit(_DIED)
        elif self.count == self.fault.at and event == "open":
            self.opened = os.fsdecode(arguments[0])
        elif self.count > self.fault.at and event != "os.truncate":
            self.die()

    def die(self) -> None:
        opened, self.opened = self.opened, ""  # opening it is seen here, too
        if opened and os.path.exists(opened):
            os.truncate(opened, os.path.getsize(opened) // 2)
        os._exit(_DIED)

    def _changes(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            path, _, flags = arguments
            if not flags & _WRITING:
                return False
        elif event in _CHANGING:
            path = arguments[1] if event in ("os.rename", "os.link", "os.symlink") else arguments[0]
        else:
            return False
        if isinstance(path, int):
            return False
        return os.path.realpath(os.fsdecode(path)).startswith(self.folder + os.sep)


def _in_child(work: Callable[[], object], interruption: _Interruption | None) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = _FAILED
        try:
            if interruption is not None:
                sys.addaudithook(interruption)
            work()
            if interruption is not None and interruption.opened:
                interruption.die()  # its last operation
            code = _DIED if interruption is not None and interruption.struck else 0
        except BaseException as error:
            full = interruption is not None and interruption.struck and _is_for_want_of_room(error)
            code = _DIED if full else _FAILED
            if not full:
                traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code != _FAILED, "the work failed by itself; its traceback is above"
    return code


def _is_for_want_of_room(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return True
        error = error.__cause__ or error.__context__
    return False
