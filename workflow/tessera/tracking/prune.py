"""Finds what no study of the current configuration needs, so that it can be removed."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from tessera.study.jobs import FOLDERS
from tessera.study.plan import Plan


@dataclass(frozen=True)
class Waste:
    """A folder that can go.

    Attributes:
        reason: `artifact` (no study needs it), `state` (of a finished or unneeded job) or `damaged`.
    """

    folder: Path
    reason: str
    bytes: int


def find_waste(plan: Plan) -> list[Waste]:
    """Artifacts that no chosen study needs, states of jobs that are finished or not needed, damaged artifacts.

    A job that runs at the moment keeps its state.
    """
    root = plan.root
    needed = set(plan.jobs_of(plan.studies)) | plan.spared
    waste = []
    for stage_folder in FOLDERS.values():
        for folder in _folders(root / "artifacts" / stage_folder):
            if f"artifacts/{stage_folder}/{folder.name}" not in needed:
                waste.append(Waste(folder, "artifact", _size(folder)))
        for folder in _folders(root / "resume" / stage_folder):
            artifact = f"artifacts/{stage_folder}/{folder.name}"
            finished = (root / artifact / "artifact.json").exists()
            left = finished and any((folder / name).exists() for name in ("state", "output"))
            if (left or artifact not in needed) and not _is_running(folder):
                waste.append(Waste(folder, "state", _size(folder)))
    waste += [Waste(folder, "damaged", _size(folder)) for folder in _folders(root / "resume" / "damaged")]
    return waste


def remove(waste: Iterable[Waste]) -> None:
    """Removes folders."""
    for item in waste:
        shutil.rmtree(item.folder)


def describe(waste: list[Waste]) -> str:
    """What would go and how much, one line a folder and a sum at the end."""
    titles = {"artifact": "needed by no study", "state": "state of a job", "damaged": "damaged, set aside"}
    lines = [f"{item.folder}  {in_words(item.bytes)}  {titles[item.reason]}" for item in waste]
    return "\n".join([*lines, f"{len(waste)} folders, {in_words(sum(item.bytes for item in waste))}"])


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
    return sorted(path for path in parent.glob("*") if path.is_dir())


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _is_running(folder: Path) -> bool:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
