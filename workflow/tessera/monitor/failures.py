"""What a run says of jobs that failed, and of Ctrl-C: a few lines, where Snakemake prints whole logs and tracebacks.

It listens to Snakemake's own log, in the process that reads the Snakefile. Never imports Snakemake.
"""

import logging
import re
import signal
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from tessera.monitor.cluster import Attempts, end_of, words_on
from tessera.monitor.standing import is_stop, last_line, tail

SHOWN_LINES = 30  # of a log that ends in a traceback
_SNAKEMAKE = "snakemake.logging"
# The shell's word on a job: what the job's own log says, says more.
_OF_THE_SHELL = "CalledProcessError in file"
# A signal to all of a run ends the shell before the job, which still writes that it was stopped.
_ENDED = re.compile(r"> (\S+\.log) 2>&1' died with <Signals\.SIG(?:HUP|INT|TERM)")
# What it says before all has been said, and after.
_SOME_WORDS, _LAST_WORDS = "Exiting because a job execution failed", "At least one job did not complete successfully"
# What executors add to their word on a job: where its logs are is told anyway.
_OF_LOGS = re.compile(
    r"\s*(Detailed failure reason unavailable \(.*?\)\.|Reasons?: Unknown\.|For further error details see the .*)",
    re.DOTALL,
)


class Failures(logging.Filter):
    """Says of a failed job what its log says, of a stopped one nothing, and of Ctrl-C one line.

    Attributes:
        stopped: Whether the user has pressed Ctrl-C.
        attempts: Of each job, by its log.
        ended: Logs of jobs that a signal has ended.
        told: Whether any job has failed.
    """

    def __init__(self, retries: Callable[[], int] = lambda: 0) -> None:
        """Begins with nothing.

        Args:
            retries: How often Snakemake tries a failed job again: it knows that late.
        """
        super().__init__()
        self.stopped = self.told = False
        self.ended: set[str] = set()
        self.attempts: defaultdict[str, Attempts] = defaultdict(Attempts)
        self._retries = retries

    def install(self) -> "Failures":
        """Takes its place in Snakemake's log, and Ctrl-C."""
        logging.getLogger(_SNAKEMAKE).addFilter(self)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as of what a script runs in the background
            with suppress(ValueError):  # not in the main thread
                signal.signal(signal.SIGINT, self._stop)
        return self

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether Snakemake may say it; a failed job's record is put in our words."""
        if record.levelno < logging.ERROR:
            if hasattr(record, "resources") and (logs := getattr(record, "log", None)):  # a job begins
                self.attempts[logs[0]].begin(dict(record.resources.items()))
            return not (self.stopped and record.levelno < logging.WARNING and "Terminating" in record.getMessage())
        text = str(record.msg)
        if self.stopped or _OF_THE_SHELL in text or _SOME_WORDS in text:
            self.ended |= {found[1] for found in [_ENDED.search(text)] if found}
            return False
        if _LAST_WORDS in text:  # a table of an earlier run may stand above it
            what = "error: a job failed, see above." if self.told else "stopped."
            record.msg, record.args = f"{what} What is made is kept: run it again to go on.", ()
        if hasattr(record, "rule_name"):
            if self.ended & set(getattr(record, "log", None) or []):
                return False
            words = self._describe(
                record.rule_name, getattr(record, "log", None) or [], getattr(record, "rule_msg", "") or ""
            )
            if words is None:
                return False
            self.told = True
            record.msg, record.args = words, ()
            record.__dict__.pop("event", None)  # else Snakemake lays it out
        return True

    def times(self, log: str, resource: str, attempt: int) -> int:
        """How much of a resource a job asks for, as a multiple of what its first attempt did.

        A job's own process knows nothing of earlier attempts: there the number of the attempt has to do.
        """
        return self.attempts[log].times(resource) if log in self.attempts else attempt

    def _describe(self, rule: str, logs: list[str], said: str) -> str | None:
        if not logs:
            return describe(rule, logs, said)
        path, end = Path(logs[0]), end_of(said)
        last, attempts = last_line(path), self.attempts[logs[0]]
        attempts.end(end, tail(path))
        words = None if end is None else words_on(end, rule, attempts, 1 + self._retries(), last)
        if words is None:
            return describe(rule, logs, said)
        if end is not None and end.short and attempts.number > self._retries():
            # Whoever reads the log, and what stands in the study's page, is told as well.
            with suppress(OSError), path.open("a") as log:
                log.write(f"error: {words}\n")
        return f"{rule}: {path.stem} {words}\n  log: {path}"

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.stopped:  # the jobs have it, too, and end at once; Snakemake waits for them
            return
        self.stopped = True
        print("\nstopping: jobs end now, and what is finished is kept", flush=True)
        raise KeyboardInterrupt


def describe(rule: str, logs: list[str], said: str = "") -> str | None:
    """A failed job in words; None where it was stopped.

    Args:
        logs: Its own log, and the executor's where it has one.
        said: What the executor says of it.
    """
    path = Path(next(iter(logs), ""))
    last = last_line(path) if logs else None
    if last is not None and is_stop(last):
        return None
    lines = [f"{rule}: {path.stem} failed" if logs else f"{rule} failed"]
    lines += [f"  {line}" for line in _OF_LOGS.sub("", said).strip().splitlines()]
    if logs:
        shown = [line for line in tail(path) if not line.startswith("| ")]  # of the process before
        if not shown and len(logs) > 1:  # it has not even begun
            path = Path(logs[1])
            shown = tail(path)
        if any(line.startswith("error: ") for line in shown):
            lines.append(f"  {last}")
        else:
            lines += [f"  {line}" for line in shown[-SHOWN_LINES:]]
        lines.append(f"  log: {path}")
    return "\n".join(lines)
