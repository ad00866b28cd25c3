"""Where a running job is: it says so in `resume/<stage>/<job>/progress.json`, for whoever looks. Never imports torch.

Trainings know nothing of it: it listens to the log. A thread writes, once a second at most, so no training waits for a
disk; and the time of the file shows that the job lives, also to other machines.
"""

import json
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tessera.artifacts import resume_folder
from tessera.files import replace_text
from tessera.jobs import Job

log = logging.getLogger("tessera")

FILE = "progress.json"
EVERY_S = 1.0
BEAT_S = 15.0  # a job without news touches its file


@dataclass
class Told:
    """What a job says of itself.

    Attributes:
        device: What it leased, as CUDA_VISIBLE_DEVICES takes it; None where it computes on a processor, or waits.
        said: The last line of its log, without the time.
        what: The training, or the part of it, that is at work.
        epoch: Epochs that are done, of `epochs`.
        epoch_s: Seconds of the last epoch.
        remaining_s: Seconds that the rest of this training takes at its present speed, counted from `at`.
        at: When the last epoch was done, seconds since 1970.
        error: Why it ended; empty while it runs.
    """

    pid: int
    host: str
    started: float
    device: str | None = None
    said: str = ""
    what: str = ""
    epoch: int = 0
    epochs: int = 0
    epoch_s: float | None = None
    images_per_s: float | None = None
    remaining_s: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    at: float = 0.0
    error: str = ""


def read_told(folder: Path) -> Told | None:
    """What the job of this folder under resume/ says; None where it says nothing, or nothing that can be read."""
    try:
        content = json.loads((folder / FILE).read_text())
        known = {item.name for item in fields(Told)}
        return Told(**{name: value for name, value in content.items() if name in known})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


@contextmanager
def telling(job: Job) -> Iterator[None]:
    """Keeps the job's progress file up to date while the block runs; it stays only if the block fails."""
    teller = _Teller(resume_folder(job))
    log.addHandler(teller)
    teller.thread.start()
    error = ""
    try:
        yield
    except BaseException as failure:
        error = " ".join(str(failure).split()) or type(failure).__name__
        raise
    finally:
        log.removeHandler(teller)
        teller.stop(error)


class _Teller(logging.Handler):
    def __init__(self, folder: Path) -> None:
        super().__init__(logging.INFO)
        self.folder = folder
        self.told = Told(os.getpid(), platform.node(), time.time())
        self.news = threading.Event()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._write_now_and_then, daemon=True)
        self._write()

    def emit(self, record: logging.LogRecord) -> None:
        """Takes what a line of the log says; costs nothing else."""
        told = self.told
        told.said = record.getMessage()
        told.device = getattr(record, "device", told.device)
        epoch = getattr(record, "epochs", None)
        if epoch is not None:
            _take_epoch(told, vars(record))
        self.news.set()

    def stop(self, error: str) -> None:
        """The job's last word."""
        self.stopping.set()
        self.thread.join()
        if error:
            self.told.error = error
            self._write()
        else:
            self._guarded(lambda: (self.folder / FILE).unlink(missing_ok=True))

    def _write_now_and_then(self) -> None:
        beat = time.monotonic()
        while not self.stopping.wait(EVERY_S):
            now = time.monotonic()
            if self.news.is_set():
                self.news.clear()
                self._write()
                beat = now
            elif now - beat >= BEAT_S:
                self._guarded(lambda: os.utime(self.folder / FILE))
                beat = now

    def _write(self) -> None:
        if self.folder.is_dir():
            self._guarded(lambda: replace_text(self.folder / FILE, json.dumps(asdict(self.told)) + "\n"))

    def _guarded(self, action: Callable[[], object]) -> None:
        """A full disk stops the training soon enough, and with a better word than this."""
        with suppress(OSError):
            action()


def _take_epoch(told: Told, record: Mapping[str, Any]) -> None:
    """What `tessera.training.pace.Pace` says, or whoever logs the same fields."""
    told.what, told.epoch, told.epochs = str(record.get("what", "")), int(record.get("epoch", 0)), int(record["epochs"])
    told.epoch_s, told.images_per_s = record.get("epoch_s"), record.get("images_per_s")
    told.remaining_s = record.get("remaining_s")
    told.figures = {str(name): float(value) for name, value in (record.get("figures") or {}).items()}
    told.at = time.time()
