"""Datasets that an older version prepared: what they lack is told before any job starts. Never imports torch."""

import json
from collections.abc import Iterable
from pathlib import Path

from tessera.errors import StudyError
from tessera.jobs import Job, PretrainSource
from tessera.multitask.source import Source
from tessera.protocols.options import ProtocolOptions


def refuse_older_datasets(source: Source, protocol: ProtocolOptions, chain: Iterable[Job], root: Path) -> None:
    """Refuses a prepared dataset that lacks a label column which a task of the source reads.

    A dataset that gained columns has the key that it had, so that nothing else is made again.

    Args:
        chain: The jobs of a cell.
        root: Where artifacts lie.

    Raises:
        StudyError: If one lacks a column; the message names the folder to delete.
    """
    wanted = {task.column for task in source.tasks} - {None, "class"}
    if not wanted:
        return
    *_, last = jobs = list(chain)
    readers = [
        job for job in jobs if job.stage == PretrainSource.stage or (job is last and protocol.measures == "source")
    ]
    for folder in {job.inputs["dataset"] for job in readers}:
        try:
            about = json.loads((root / folder / "dataset.json").read_text(encoding="utf-8"))
            known = set(about.get("columns", {}))
        except (OSError, ValueError, AttributeError):
            continue  # not made yet, or damaged, which its reader tells
        if lacking := sorted(column for column in wanted - known if column is not None):
            what = f"label column `{lacking[0]}`" if known else "label columns beside the class"
            raise StudyError(
                f"{folder}: has no {what} (an older version made it). Delete the folder; it is made again."
            )
