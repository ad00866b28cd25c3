"""Finds what no study needs, so that it can be removed, and removes what is still not needed then."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from tessera.errors import StudyError
from tessera.jobs import KINDS, TrainingState
from tessera.manifest import MANIFEST
from tessera.states import states_needed
from tessera.study.config import Config
from tessera.study.files import parse
from tessera.study.plan import Plan, make_plan, needed_by_studies

LOCK = ".lock"
STATES = ("state", "output")  # of a training that goes on
SHOWN = 40  # folders that are named before the question

Reason = Literal["artifact", "extendable", "state", "damaged"]
TITLES = {
    "artifact": "",
    "extendable": "state that a longer training would go on from",
    "state": "state of a job that is done or not needed",
    "damaged": "damaged, set aside",
}


@dataclass(frozen=True)
class Needs:
    """What is needed.

    Attributes:
        folders: Of artifacts.
        unknown: Why a study or a configuration cannot be planned, so that what it needs is not known, by its file.
    """

    folders: set[str] = field(default_factory=set)
    unknown: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Waste:
    """A folder that can go.

    Attributes:
        reason: `artifact` (no study needs it), `extendable` (the state of a training that none needs to be able to
            extend), `state` (of a finished or unneeded job) or `damaged`.
        bytes: What its removal frees: nothing of what a link leads to.
        stamp: Changes when something in it does.
    """

    folder: Path
    reason: Reason
    bytes: int
    stamp: tuple[int, int]


def needed_by_chosen(plan: Plan) -> Needs:
    """What the studies need that the plan's configuration names, also where it asks for a part of them."""
    if plan.config.rows or plan.config.columns:
        plan = make_plan({**plan.config.model_dump(), "rows": None, "columns": None}, plan.root)
    jobs = plan.jobs_of(plan.studies)
    return Needs({*jobs, *states_needed(jobs.values(), plan.root), *plan.spared})


def without_states(needed: Iterable[str]) -> set[str]:
    """What is needed for results: all but states."""
    return {folder for folder in needed if not folder.startswith(f"artifacts/{TrainingState.folder}/")}


def needed_by_any(plan: Plan, configurations: Mapping[str, Mapping[str, Any]]) -> Needs:
    """What any study needs: under each of the configurations, at its own scale and at every one of config/scales.

    Args:
        configurations: Each file's content, by its name.
    """
    needs = needed_by_chosen(plan)
    scales = sorted(path.stem for path in (plan.root / "config" / "scales").glob("*.yaml"))
    planned: set[tuple[Any, ...]] = set()
    for shown, raw in {"the configuration": plan.config.model_dump(), **configurations}.items():
        try:
            config = parse(Config, raw, shown)
        except StudyError as error:
            needs.unknown[shown] = str(error)
            continue
        for scale in dict.fromkeys([config.scale, *scales]):
            like = (scale, config.trials, config.precision, config.strict, config.gpus)
            if like in planned and not any(name.endswith((".yaml", ".yml")) for name in config.studies):
                continue
            planned.add(like)
            folders, failed = needed_by_studies(config.model_copy(update={"scale": scale}), plan.root)
            needs.folders.update(folders)
            if scale == config.scale:  # a study that no other scale suits has never run at one
                needs.unknown.update(failed)
    return needs


def find_waste(root: Path, needed: Iterable[str]) -> list[Waste]:
    """Artifacts that are not needed, states of jobs that are finished or not needed, damaged artifacts; largest first.

    Before all come the states that longer trainings could go on from: what they save, time gives back. A job that runs
    at the moment keeps its state, and its inputs stay.
    """
    kept = {*needed, *_inputs_in_use(root)}
    found: list[tuple[Path, Reason]] = []
    for stage_folder in (kind.folder for kind in KINDS.values()):
        for folder in _folders(root / "artifacts" / stage_folder):
            if f"artifacts/{stage_folder}/{folder.name}" not in kept:
                found.append((folder, "extendable" if stage_folder == TrainingState.folder else "artifact"))
        for folder in _folders(root / "resume" / stage_folder):
            if _is_left(root, folder, kept) and not _is_running(folder):
                found.append((folder, "state"))
    found += [(folder, "damaged") for folder in _folders(root / "resume" / "damaged")]
    waste = [Waste(folder, reason, *_look(folder)) for folder, reason in found]
    return sorted(waste, key=lambda item: (item.reason != "extendable", -item.bytes, item.folder))


def remove(root: Path, waste: Iterable[Waste], needed: Iterable[str]) -> list[str]:
    """Removes folders, each after another look: what is used, needed or changed by now stays.

    Returns:
        Why a folder stayed, one line each.
    """
    stayed, needs = [], set(needed)
    for item in waste:
        shown = item.folder.relative_to(root)
        stage, name = item.folder.parts[-2:]
        try:
            if item.reason == "damaged":
                _remove(item.folder)
                continue
            with _alone(root / "resume" / stage / name) as alone:
                kept = {*needs, *_inputs_in_use(root)}
                if not alone:
                    stayed.append(f"{shown}: stays, for its job runs now")
                elif _look(item.folder)[1] != item.stamp:
                    stayed.append(f"{shown}: stays, for it has changed since")
                elif item.reason in ("artifact", "extendable") and f"artifacts/{stage}/{name}" in kept:
                    stayed.append(f"{shown}: stays, for it is needed by now")
                elif item.reason in ("artifact", "extendable"):
                    _remove(item.folder)
                elif _is_left(root, item.folder, kept):
                    _empty(item.folder, f"artifacts/{stage}/{name}" in kept)
        except OSError as error:
            stayed.append(f"{shown}: cannot be removed ({error.strerror})")
    return stayed


def describe(waste: list[Waste], most: int | None = SHOWN) -> str:
    """How much would go and what: a sum, then a line a folder, the largest first.

    Args:
        most: Folders that are named; None for all.
    """
    lines = [f"{_count(waste)}:"]
    for item in waste[:most]:
        title = "a link: what it leads to stays" if item.folder.is_symlink() else TITLES[item.reason]
        lines.append(f"{in_words(item.bytes):>10}  {item.folder}" + (f"  ({title})" if title else ""))
    if rest := waste[len(lines) - 1 :]:
        lines.append(f"{in_words(sum(item.bytes for item in rest)):>10}  in {len(rest)} more (--dry-run names all)")
    return "\n".join(lines)


def _count(waste: list[Waste]) -> str:
    folders = "1 folder" if len(waste) == 1 else f"{len(waste):,} folders"
    return f"{folders}, {in_words(sum(item.bytes for item in waste))}"


def in_words(count: int) -> str:
    """A number of bytes for a reader.

    >>> in_words(2_500_000)
    '2.5 MB'
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.glob("*") if path.is_dir() or path.is_symlink())


def _look(folder: Path) -> tuple[int, tuple[int, int]]:
    """Bytes that the removal frees, and a stamp that changes with what is in it."""
    if folder.is_symlink():
        return 0, (0, folder.lstat().st_mtime_ns)
    total, last, number = 0, 0, 0
    for path in folder.rglob("*"):
        about = path.lstat()
        if path.name in (LOCK, ".pid") or path.is_dir():
            continue
        total, last, number = total + about.st_size, max(last, about.st_mtime_ns), number + 1
    return total, (number, last)


def _is_left(root: Path, folder: Path, kept: set[str]) -> bool:
    """Whether the state of a job is of no use: the job is done, or not needed."""
    artifact = f"artifacts/{folder.parent.name}/{folder.name}"
    if artifact not in kept:
        return folder.is_symlink() or any(path.name != LOCK for path in folder.iterdir())
    finished = (root / artifact / MANIFEST).exists()
    return finished and any((folder / name).exists() for name in STATES)


def _inputs_in_use(root: Path) -> set[str]:
    """Artifacts that jobs read which run at the moment, whatever configuration asked for them."""
    used: set[str] = set()
    for pid in root.glob("resume/*/*/.pid"):
        if not _is_running(pid.parent):
            continue
        try:
            used.update(json.loads((pid.parent / "job.json").read_text())["inputs"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return used


def _is_running(folder: Path) -> bool:
    if not (folder / LOCK).exists():
        return False
    with _alone(folder) as alone:
        return not alone


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Holds a job's lock, so that it does not start meanwhile; False where the job runs."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
        return
    (folder / MANIFEST).unlink(missing_ok=True)  # first: half an artifact is none
    shutil.rmtree(folder)


def _empty(folder: Path, done: bool) -> None:
    """Removes what is in the folder of a job, save its lock, for which the job may wait by now.

    Args:
        done: The artifact is there and needed, so that only the training's state goes.
    """
    if folder.is_symlink():
        folder.unlink()
        return
    for path in folder.iterdir():
        if path.name == LOCK or (done and path.name not in STATES):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
