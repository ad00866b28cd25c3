"""How a job stands: done, running, waiting or failed. Looks at what jobs leave in files, and disturbs none."""

import os
import platform
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tessera.artifacts import resume_folder
from tessera.jobs import FOLDERS, Job, SummarizeStudy
from tessera.study.plan import Plan
from tessera.told import FILE, Told, read_told

SUMMARIZE = "summarize_study"
SILENT_S = 180.0  # a job on another machine that has not touched its file for so long is taken for dead
_START_S = 60.0  # until a job says its first word; one that never did was killed before
_TAIL_BYTES = 4096


class State(StrEnum):
    """What can be said of a job."""

    DONE = "done"
    RUNNING = "running"
    WAITING = "waiting"
    FAILED = "failed"
    BLOCKED = "blocked"  # waits for one that failed


@dataclass(frozen=True)
class Standing:
    """How one job stands.

    Attributes:
        job: None for the tables of a study.
        told: What a running job says of itself; None where it says nothing yet.
        why: Why it failed, in a line.
        since: When it failed, seconds since 1970.
    """

    stage: str
    name: str
    state: State
    log: str
    job: Job | None = None
    told: Told | None = None
    why: str = ""
    since: float = 0.0


def look(plan: Plan, studies: Iterable[str]) -> list[Standing]:
    """How every job of these studies stands, and the tables of each, in the plan's order."""
    names = list(studies)
    jobs = plan.jobs_of(names)
    found: dict[str, Standing] = {}
    for folder, job in jobs.items():
        standing = _of_job(job, plan.root)
        if standing.state is State.WAITING and _any_failed(found, job.inputs.values()):
            standing = _blocked(standing)
        found[folder] = standing
    tables = []
    for name in names:
        summary = {**plan.studies, **plan.others}[name]
        standing = _of_summary(summary, plan.root, found)
        tables.append(_blocked(standing) if _any_failed(found, summary.artifacts) else standing)
    return [*found.values(), *tables]


def strangers(plan: Plan) -> int:
    """How many jobs run here that the plan knows nothing of: another configuration's."""
    ours = {resume_folder(job) for job in plan.jobs.values()}
    pids = [path for path in plan.root.glob("resume/*/*/.pid") if path.parent.relative_to(plan.root) not in ours]
    return sum(_lives(path.parent, path.parent.name) for path in pids)


def _of_job(job: Job, root: Path) -> Standing:
    log = f"logs/{FOLDERS[job.stage]}/{job.name}.log"

    def standing(state: State, told: Told | None = None, why: str = "", since: float = 0.0) -> Standing:
        return Standing(job.stage, job.name, state, log, job, told, why, since)

    folder = root / resume_folder(job)
    if (root / job.manifest).exists():
        return standing(State.DONE)
    told, last, changed = read_told(folder), last_line(root / log), _changed(root / log)
    if last is not None and is_limit(last):
        why, since = last, changed
    elif _pid(folder) is not None:
        if _lives(folder, job.name, job.stage):
            return standing(State.RUNNING, told if told is not None and not told.error else None)
        why, since = f"killed; its last word: {last}" if last else "killed", max(changed, _changed(folder / FILE))
    elif last is None and changed > _changed(folder / FILE):  # Snakemake has opened its log, and it says nothing yet
        return standing(State.RUNNING if time.time() - changed < _START_S else State.WAITING)
    elif told is not None:
        why, since = told.error or last or "ended without a word", _changed(folder / FILE)
    elif last is not None and not re.search(r": done in [\d.]+ s$| is complete already: ", last):
        why, since = last, changed
    else:
        return standing(State.WAITING)
    if is_stop(why):
        return standing(State.WAITING)
    # It may have ended well while we looked.
    return standing(State.DONE) if (root / job.manifest).exists() else standing(State.FAILED, None, why, since)


def _of_summary(summary: SummarizeStudy, root: Path, jobs: dict[str, Standing]) -> Standing:
    log = f"logs/summaries/{summary.name}-{summary.key}.log"
    ready = all(jobs[folder].state is State.DONE for folder in summary.artifacts)
    state, why, changed = State.WAITING, "", _changed(root / log)
    if (root / summary.marker).exists():
        state = State.DONE
    elif ready and changed >= max(
        (_changed(root / folder / "artifact.json") for folder in summary.artifacts), default=0
    ):
        state = State.RUNNING
        if any(line.startswith(("error: ", "Traceback (most recent call last)")) for line in tail(root / log)):
            state, why = State.FAILED, last_line(root / log) or ""
    return Standing(SUMMARIZE, summary.name, state, log, None, None, why, changed)


def _any_failed(found: dict[str, Standing], folders: Iterable[str]) -> bool:
    gone = (State.FAILED, State.BLOCKED)
    return any(found[folder].state in gone for folder in folders if folder in found)


def _blocked(standing: Standing) -> Standing:
    return Standing(standing.stage, standing.name, State.BLOCKED, standing.log, standing.job)


def last_line(path: Path) -> str | None:
    """The last line of a log that says something, without its time; None where there is none."""
    lines = tail(path)
    if not lines:
        return None
    said = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1])
    return re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", said).removeprefix("error: ")


def is_stop(said: str) -> bool:
    """Whether a job's last word is that it was stopped, by Ctrl-C or by whoever ended it: the next run goes on."""
    return said.startswith(("stopped", "KeyboardInterrupt"))


def is_limit(said: str) -> bool:
    """Whether a job's last word is that a cluster ended it at a limit: written there by `monitor.failures`."""
    return said.startswith("met its ")


def tail(path: Path) -> list[str]:
    """The last lines of a log that say something; none where there is no log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return []


def _pid(folder: Path) -> int | None:
    try:
        return int((folder / ".pid").read_text())
    except (OSError, ValueError):
        return None


def _lives(folder: Path, *words: str) -> bool:
    """Whether the process that this folder names is alive, and the one that was meant: numbers are used again."""
    pid, told = _pid(folder), read_told(folder)
    if pid is None:
        return False
    if told is not None and told.host != platform.node():
        return time.time() - _changed(folder / FILE) < SILENT_S
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:  # no Linux
        return True
    return any(word in command for word in words)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
