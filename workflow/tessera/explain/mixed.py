"""What artifacts of one study were made with that changes figures, though it is no part of their keys."""

import json
from collections.abc import Iterable
from pathlib import Path

from tessera.jobs import Job, PretrainSource
from tessera.study.plan import Plan

_LISTED = 3


def mixed(plan: Plan, names: Iterable[str]) -> list[str]:
    """One line for each study whose artifacts were made with several numbers of threads, in several precisions, or some
    of them by compiled passes.

    Threads count where a processor computed; a precision, where the device chose it; compiled passes, where a
    pretraining takes steps.

    Args:
        names: Studies to look at.
    """
    seen: dict[str, tuple[str, str, str]] = {}
    lines = []
    for name in names:
        jobs = plan.jobs_of([name])
        seen |= {folder: _made_with(job, plan.root) for folder, job in jobs.items() if folder not in seen}
        for index, what, advice in (
            (0, "numbers of threads", "Keep one number of `threads` within a study"),
            (1, "precisions", "Name a `precision` where machines share artifacts"),
            (2, "kinds of passes", "Set `compile` to true or false"),
        ):
            found = sorted({seen[folder][index] for folder in jobs} - {""})
            if len(found) > 1:
                listed = ", ".join(found[:_LISTED]) + (", …" if len(found) > _LISTED else "")
                lines.append(
                    f"{name}: its artifacts were made with several {what} ({listed}) under the same keys, and figures "
                    f"may differ between them. {advice}; delete an artifact to make it again."
                )
    return lines


def _made_with(job: Job, root: Path) -> tuple[str, str, str]:
    """Threads, precision and kind of passes, empty where they do not matter or nothing is known."""
    try:
        hardware = json.loads((root / job.manifest).read_text(encoding="utf-8"))["hardware"]
        threads = str(hardware.get("threads", "")) if hardware.get("device") == "cpu" else ""
        precision = str(hardware.get("precision", "")) if job.run.precision == "auto" else ""
        steps = job.settings.get("source", {}).get("epochs", 0) > 0 if job.stage == PretrainSource.stage else False
        passes = ("compiled" if hardware.get("compiled") else "not compiled") if steps else ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", "", ""
    return threads, precision, passes
