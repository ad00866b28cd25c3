"""What MLflow shows of a study: one run above its jobs' runs, with the table, its figures and pictures."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from tessera.files import sha256_of
from tessera.jobs import SummarizeStudy
from tessera.tracking.view import metric_name

TABLE = "cells.json"
_FILES = ("table.md", "table.csv", "table.tex", "table.json", "along.csv", "report.html")
_PICTURES = (".png", ".svg")
_LONGEST_NOTE = 7500  # characters; a tag of MLflow holds 8000


@dataclass(frozen=True)
class StudyView:
    """A study's run.

    Attributes:
        artifact: Its results' folder; identifies the run.
        metrics: (name, value): every cell's mean.
        note: Markdown, shown on the run's first page.
        files: Where a file lies, to the folder that it is shown in.
        table: A row a cell, as `mlflow.log_table` writes tables; None before there is one.
        digest: Of all that is shown: what is there already is not logged again.
        start_ms: When the work began, in ms since 1970; None where nothing is made.
        end_ms: When it ended.
    """

    artifact: str
    tags: dict[str, str]
    note: str
    start_ms: int | None = None
    end_ms: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    files: dict[Path, str] = field(default_factory=dict)
    table: dict[str, Any] | None = None
    digest: str = ""


def read_study(summary: SummarizeStudy, root: Path, times: tuple[int, int] | None = None) -> StudyView:
    """The view of a study: its name alone until its tables are there.

    Args:
        times: When its work began and ended, in ms since 1970.

    Raises:
        ValueError: If a file of the results is damaged.
    """
    folder = root / "results" / summary.name
    tags = {"stage": "study", "studies": summary.name, "scale": summary.scale, "trials": str(summary.trials)}
    view = StudyView(
        f"results/{summary.name}", tags, f"# {summary.title}\n\n{summary.description}".strip(), *(times or ())
    )
    if not (root / summary.marker).exists():
        return view
    files = {folder / name: "" for name in _FILES if (folder / name).is_file()}
    figures = folder / "figures"
    for path in sorted(figures.rglob("*")):
        if path.suffix in _PICTURES:
            inside = path.parent.relative_to(figures).as_posix()
            files[path] = "figures" if inside == "." else f"figures/{inside}"
    metrics, cells = _means(folder / "metrics.json"), _cells(folder / "table.json")
    sums = [[path.relative_to(folder).as_posix(), sha256_of(path)] for path in files]
    digest = sha256(json.dumps([tags, summary.key, sums, metrics]).encode()).hexdigest()[:16]
    note = _note(folder / "table.md", view.note)
    return replace(view, note=note, metrics=metrics, files=files, table=cells, digest=digest)


def _means(path: Path) -> dict[str, float]:
    if not path.exists():
        return {}
    rows = json.loads(path.read_text())
    return {
        metric_name(f"{row.replace('/', ' ')}/{column.replace('/', ' ')}"): float(mean)
        for row, columns in rows.items()
        for column, mean in columns.items()
    }


def _cells(path: Path) -> dict[str, Any] | None:
    """A row a cell: what stands in it, and beside it."""
    if not path.exists():
        return None
    names = ("row", "column", "protocol", "metric", "mean", "std", "published", "difference", "values")
    cells: list[Mapping[str, Any]] = json.loads(path.read_text())["cells"]
    shown = [name for name in names if any(cell.get(name) is not None for cell in cells)]
    return {"columns": shown, "data": [[_plain(cell.get(name)) for name in shown] for cell in cells]}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return ", ".join("–" if item is None else f"{item:g}" for item in value)
    return value


def _note(path: Path, otherwise: str) -> str:
    """The table, without links to files, which lead nowhere there; cut between lines where it is too long."""
    if not path.exists():
        return otherwise
    lines = [line for line in path.read_text().splitlines() if not line.startswith(("![", "Pictures: "))]
    note = "\n".join(lines).strip()
    if len(note) <= _LONGEST_NOTE:
        return note
    return note[:_LONGEST_NOTE].rpartition("\n")[0] + "\n\n(More in the artifact `table.md`.)"
