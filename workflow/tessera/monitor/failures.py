"""What a run says of jobs that failed, and of Ctrl-C: a few lines, where Snakemake prints whole logs and tracebacks.

It listens to Snakemake's own log, in the process that reads the Snakefile. Never imports Snakemake.
"""

import logging
import signal
from contextlib import suppress
from pathlib import Path
from types import FrameType

from tessera.monitor.standing import is_stop, last_line, tail

SHOWN_LINES = 30  # of a log that ends in a traceback
_SNAKEMAKE = "snakemake.logging"
# The shell's word on a job: what the job's own log says, says more.
_OF_THE_SHELL = "CalledProcessError in file"
# What it says once more, when all has been said.
_LAST_WORDS = ("Exiting because a job execution failed", "At least one job did not complete successfully")


class Failures(logging.Filter):
    """Says of a failed job what its log says, of a stopped one nothing, and of Ctrl-C one line.

    Attributes:
        stopped: Whether the user has pressed Ctrl-C.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stopped = False

    def install(self) -> "Failures":
        """Takes its place in Snakemake's log, and Ctrl-C."""
        logging.getLogger(_SNAKEMAKE).addFilter(self)
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, self._stop)
        return self

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether Snakemake may say it; a failed job's record is put in our words."""
        if record.levelno < logging.ERROR:
            return not (self.stopped and record.levelno < logging.WARNING and "Terminating" in record.getMessage())
        text = str(record.msg)
        if self.stopped or _OF_THE_SHELL in text or any(words in text for words in _LAST_WORDS):
            return False
        if hasattr(record, "rule_name"):
            said = getattr(record, "rule_msg", None)
            words = describe(record.rule_name, getattr(record, "log", None) or [], said or "")
            if words is None:
                return False
            record.msg, record.args = words, ()
            record.__dict__.pop("event", None)  # else Snakemake lays it out
        return True

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.stopped:  # the jobs have it, too, and end at once; Snakemake waits for them
            return
        self.stopped = True
        print("\nstopping: jobs end now, and what is finished is kept", flush=True)
        raise KeyboardInterrupt


def describe(rule: str, logs: list[str], said: str = "") -> str | None:
    """A failed job in words; None where it was stopped.

    Args:
        logs: Its logs.
        said: What the executor says of it.
    """
    path = Path(next(iter(logs), ""))
    last = last_line(path) if logs else None
    if last is not None and is_stop(last):
        return None
    lines = [f"{rule}: {path.stem} failed" if logs else f"{rule} failed"]
    lines += [f"  {line}" for line in said.strip().splitlines()]
    if logs:
        shown = tail(path)
        if any(line.startswith("error: ") for line in shown):
            lines.append(f"  {last}")
        else:
            lines += [f"  {line}" for line in shown[-SHOWN_LINES:]]
        lines.append(f"  log: {path}")
    return "\n".join(lines)
