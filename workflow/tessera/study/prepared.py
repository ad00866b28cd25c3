"""Datasets that an older version prepared: what they lack is told before any job starts. Never imports torch."""

import json
from collections.abc import Iterable
from pathlib import Path

from tessera.errors import StudyError
from tessera.jobs import GeneratePretextLabels, Job, PretrainSource
from tessera.study.schema import Experiment


def refuse_older_datasets(experiment: Experiment, chain: Iterable[Job], root: Path) -> None:
    """Refuses a prepared dataset that lacks a label column which a task of the source learns, or the target.

    A dataset that gained columns has the key that it had, so that nothing else is made again.

    Args:
        chain: The jobs of a cell.
        root: Where artifacts lie.

    Raises:
        StudyError: If one lacks a column; the message names the folder to delete.
    """
    target = experiment.target
    learned = {task.column for task in experiment.source.tasks} - {None, "class"}
    scored = learned if target.protocol.measures == "source" else {target.labels} - {None}
    wanted: dict[str, set[str | None]] = {}  # by the dataset's folder
    for job in chain:
        if "dataset" in job.inputs and job.stage != GeneratePretextLabels.stage:
            wanted.setdefault(job.inputs["dataset"], set()).update(
                learned if job.stage == PretrainSource.stage else scored
            )
    for folder, columns in wanted.items():
        if not columns:
            continue
        try:
            about = json.loads((root / folder / "dataset.json").read_text(encoding="utf-8"))
            known = set(about.get("columns", {}))
        except (OSError, ValueError, AttributeError):
            continue  # not made yet, or damaged, which its reader tells
        if lacking := sorted(column for column in columns if column is not None and column not in known):
            what = f"label column `{lacking[0]}`" if known else "label columns beside the class"
            raise StudyError(
                f"{folder}: has no {what} (an older version made it). Delete the folder; it is made again."
            )
