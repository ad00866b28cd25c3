"""Cells that were measured along a training: their figure by epoch and by image views."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tessera.figures import Figure
from tessera.jobs import Cell, Moment, SummarizeStudy
from tessera.multitask.snapshots import views_at
from tessera.report import trials as over_trials
from tessera.report.records import chance, figures, manifest
from tessera.report.trials import Value

FILE = "along.csv"
HEADER = ("row", "column", "trial", "epoch", "image_views", "value")


@dataclass(frozen=True)
class Point:
    """What was measured at the end of an epoch.

    Attributes:
        views: Image views that the encoder had been trained on by then, by trial; None where that is not known.
        values: By trial; None where there is no finite figure.
    """

    epoch: int
    views: tuple[int | None, ...]
    values: tuple[Value, ...]
    artifacts: tuple[str, ...]

    @property
    def mean_views(self) -> Value:
        return over_trials.mean(self.views)

    @property
    def mean(self) -> Value:
        return over_trials.mean(self.values)

    @property
    def std(self) -> Value:
        return over_trials.std(self.values)


@dataclass(frozen=True)
class Course:
    """A cell along its training.

    Attributes:
        points: Epochs ascending, the last the cell's own; of a cell that is measured once, none.
        values: The cell's own, by trial.
        chance: What guessing would give, %, where that is known.
    """

    row: str
    column: str
    figure: Figure
    points: tuple[Point, ...]
    values: tuple[Value, ...]
    chance: float | None


def read_along(summary: SummarizeStudy, root: Path) -> tuple[Course, ...]:
    """The cells of every column in which one is measured along its training, in the study's order.

    What is not made yet has no value.

    Raises:
        ArtifactError: If an artifact is damaged.
    """
    columns = {cell.column for cell in summary.cells if cell.along}
    return tuple(_course(cell, root) for cell in summary.cells if cell.column in columns and cell.artifacts)


def as_along_csv(courses: Sequence[Course]) -> str:
    """One line a trial of each point; a cell that is measured once has a line a trial without epoch and views."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for course in courses:
        points = [(str(point.epoch), point.views, point.values) for point in course.points]
        for epoch, views, values in points or [("", (None,) * len(course.values), course.values)]:
            for trial, (seen, value) in enumerate(zip(views, values, strict=True)):
                shown = "nan" if value is None else round(value, 6)
                writer.writerow([course.row, course.column, trial, epoch, "" if seen is None else seen, shown])
    return text.getvalue()


def as_points(course: Course) -> list[dict[str, Any]]:
    """The points for table.json."""

    def rounded(value: Value) -> Value:
        return None if value is None else round(value, 6)

    return [
        {
            "epoch": point.epoch,
            "image_views": list(point.views),
            "mean": rounded(point.mean),
            "std": rounded(point.std),
            "values": [rounded(value) for value in point.values],
            "artifacts": list(point.artifacts),
        }
        for point in course.points
    ]


def _course(cell: Cell, root: Path) -> Course:
    made = next(folder for folder in cell.artifacts)
    points = tuple(_point(cell, moment, root) for moment in cell.along)
    values = tuple(_value(folder, cell, root) for folder in cell.artifacts)
    guess = chance(root, made, cell.figure) if _is_made(made, root) else None
    return Course(cell.row, cell.column, cell.figure, points, values, guess)


def _point(cell: Cell, moment: Moment, root: Path) -> Point:
    views = tuple(_views(folder, moment.epoch, root) for folder in moment.artifacts)
    values = tuple(_value(folder, cell, root) for folder in moment.artifacts)
    return Point(moment.epoch, views, values, moment.artifacts)


def _value(folder: str, cell: Cell, root: Path) -> Value:
    return figures(root / folder).get(cell.metric) if _is_made(folder, root) else None


def _views(folder: str, epoch: int, root: Path) -> int | None:
    inputs = manifest(root / folder).get("inputs")
    source = inputs.get("source") if isinstance(inputs, dict) else None
    return views_at(root / str(source), epoch) if source is not None else None


def _is_made(folder: str, root: Path) -> bool:
    return (root / folder / "artifact.json").exists()
