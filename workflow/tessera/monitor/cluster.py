"""How a cluster ended a job, by the word of Snakemake's executor: time was up, memory short, or it was cancelled."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tessera.monitor.standing import is_stop
from tessera.monitor.words import count

TIME, MEMORY = "runtime", "mem_mb"  # as Snakemake names what a job asks for
_SHORT = {"TIMEOUT": TIME, "DEADLINE": TIME, "OUT_OF_MEMORY": MEMORY}
_SAYS = re.compile(r"SLURM-job '(?P<id>\w+)' failed.*?SLURM status is: '(?P<state>\w+)", re.DOTALL)
# What a job says itself: see `stages.explain`.
_NO_MEMORY = re.compile(r"\bmemory does not suffice|^MemoryError")
_ASK_S = 20


@dataclass(frozen=True)
class End:
    """How a job of a cluster ended.

    Attributes:
        job: The cluster's number of the job.
        state: The cluster's word for it, such as TIMEOUT, OUT_OF_MEMORY, CANCELLED, NODE_FAIL or FAILED.
    """

    job: str
    state: str

    @property
    def short(self) -> str | None:
        """What the job had too little of, as Snakemake names it; None where it ended for another reason."""
        return _SHORT.get(self.state)


def end_of(said: str) -> End | None:
    """How the cluster ended a job; None where the executor does not say.

    >>> end_of("SLURM-job '7' failed, SLURM status is: 'TIMEOUT'. Reason: Unknown.")
    End(job='7', state='TIMEOUT')
    """
    found = _SAYS.search(said)
    return None if found is None else End(found["id"], found["state"])


@dataclass
class Attempts:
    """How often a job was begun in this run of Snakemake, and what it had too little of.

    Attributes:
        number: Of the present attempt; the first is 1.
        asked: What the present attempt asked for.
        ended: Of every attempt that failed, what was short; both of time and memory where nobody says why it ended.
    """

    number: int = 0
    asked: Mapping[str, object] = field(default_factory=dict)
    ended: list[frozenset[str]] = field(default_factory=list)

    def begin(self, asked: Mapping[str, object]) -> None:
        """One more attempt."""
        self.number += 1
        self.asked = asked

    def end(self, end: End | None, lines: Sequence[str]) -> None:
        """The attempt failed.

        Args:
            end: What the cluster says of it.
            lines: The last lines of the job's log.
        """
        errors = [line for line in lines if line.startswith(("error: ", "Traceback (most recent call last)"))]
        if end is not None and end.short:
            short = {end.short}
        elif errors and any(_NO_MEMORY.search(line) for line in [*errors, lines[-1]]):
            short = {MEMORY}
        elif errors or end is not None:
            short = set()
        else:
            short = {TIME, MEMORY}
        self.ended.append(frozenset(short))

    def times(self, resource: str) -> int:
        """How much of a resource to ask for next, as a multiple of what the first attempt asked for."""
        return 1 + sum(resource in short for short in self.ended)


def words_on(end: End, rule: str, attempts: Attempts, allowed: int, last: str | None) -> str | None:
    """A line on a job that the cluster ended; None where the job ended by itself.

    Args:
        allowed: How many attempts there may be.
        last: The last line of the job's log.
    """
    number = f"attempt {attempts.number} of {allowed}" if allowed > 1 else ""
    if end.short is None:
        what = {"CANCELLED": "was cancelled", "PREEMPTED": "gave way to another job"}.get(end.state)
        number = ""
    else:
        asked = attempts.asked.get(end.short)
        amount = isinstance(asked, int) and (count(asked, "minute") if end.short == TIME else f"{asked:,} MB")
        limit = "time limit" if end.short == TIME else "limit of memory"
        what = f"met its {limit}" + (f" of {amount}" if amount else "")
    if what is None:
        return None
    line = f"{what} ({number})" if number else what
    if last is not None:
        line += f"; {last.removeprefix('stopped: ')}" if is_stop(last) else f"; its last word: {last}"
    if end.short is not None and attempts.number >= allowed:
        line = f"{line.rstrip('.')}. Raise the limit: --set-resources '{rule}:{end.short}=attempt*N'"
    return line


def keeps_no_accounts() -> bool:
    """Whether this is a SLURM without accounts: `sacct` then never answers, and who asks it waits for ever."""
    try:
        command = ["scontrol", "show", "config"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    kept = re.search(r"^AccountingStorageType\s*=\s*(\S+)", told, re.MULTILINE)
    return kept is not None and kept[1] in ("accounting_storage/none", "(null)")
