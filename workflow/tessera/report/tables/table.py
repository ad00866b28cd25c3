"""A study's table in memory: figures of its cells, and the comparisons that the study declares."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.errors import ArtifactError
from tessera.figures import Figure
from tessera.jobs import Cell, Comparison, SummarizeStudy
from tessera.registry import suggest
from tessera.report import trials as over_trials
from tessera.report.records import Cost, chance, cost, figures
from tessera.report.tables.along import Course, read_along
from tessera.report.tables.delta import relative_changes
from tessera.report.tables.filled import FilledCell
from tessera.report.trials import Difference, Value, paired_difference


@dataclass(frozen=True)
class Compared:
    """One comparison of the study in one column."""

    comparison: Comparison
    column: str
    figure: Figure
    difference: Difference


@dataclass(frozen=True)
class Unanswered:
    """A comparison that the study asks for and that cannot be made.

    Attributes:
        column: Where; empty: nowhere.
        why: In words; `{names}` stands for the two rows.
    """

    comparison: Comparison
    column: str
    why: str


@dataclass(frozen=True)
class Table:
    """Everything that the result files show.

    Attributes:
        courses: The cells of columns that are measured along trainings.
    """

    summary: SummarizeStudy
    figures: dict[tuple[str, str], FilledCell]
    outcomes: tuple[Compared | Unanswered, ...]
    cost: Cost
    courses: tuple[Course, ...] = ()

    @property
    def comparisons(self) -> tuple[Compared, ...]:
        """The comparisons that could be made."""
        return tuple(each for each in self.outcomes if isinstance(each, Compared))

    @property
    def unanswered(self) -> tuple[Unanswered, ...]:
        """Those that could not."""
        return tuple(each for each in self.outcomes if isinstance(each, Unanswered))

    def at(self, row: str, column: str) -> FilledCell | None:
        """The cell's figure; None where the study has no such cell."""
        return self.figures.get((row, column))

    def in_column(self, column: str) -> list[FilledCell]:
        """The filled cells of a column, from the top."""
        found = (self.at(row, column) for row in self.summary.rows)
        return [figure for figure in found if figure is not None]

    def is_best(self, figure: FilledCell) -> bool:
        """Whether this is the best mean of its column; never so where the column's cells are measured differently."""
        rivals = self.in_column(figure.cell.column)
        means = [rival.mean for rival in rivals if rival.mean is not None]
        if len(means) < 2 or figure.mean is None or not all(figure.measured_like(rival) for rival in rivals):
            return False
        return figure.mean == (min(means) if figure.cell.figure.lower_is_better else max(means))


def read_table(summary: SummarizeStudy, root: Path, unfinished: bool = False) -> Table:
    """Reads every cell's artifacts.

    Args:
        unfinished: Whether an artifact may be missing; its trial then has no figure.

    Raises:
        ArtifactError: If an artifact is missing or damaged, or has no such metric.
    """
    read = {(cell.row, cell.column): _read_cell(cell, root, unfinished) for cell in summary.cells}
    compared = read
    if summary.delta is not None:
        changes = {(each.cell.row, each.cell.column): each for each in relative_changes(summary.delta, read)}
        # What all are relative to has no cell of its own there: its mean is 0 by definition. Its trials spread, though.
        read, compared = read | {k: v for k, v in changes.items() if k[0] != summary.delta.against}, read | changes
    outcomes = [each for comparison in summary.compare for each in _compare(comparison, summary.columns, compared)]
    return Table(summary, read, tuple(outcomes), cost(root, summary.artifacts), read_along(summary, root))


def _read_cell(cell: Cell, root: Path, unfinished: bool) -> FilledCell:
    missing = {folder for folder in cell.artifacts if unfinished and not (root / folder / "artifact.json").exists()}
    trials = [{} if folder in missing else figures(root / folder) for folder in cell.artifacts]
    for folder, trial in zip(cell.artifacts, trials, strict=True):
        if folder not in missing and cell.metric not in trial:
            raise ArtifactError(
                f"{folder}/metrics.json: no figure `{cell.metric}` for row '{cell.row}'. {suggest(cell.metric, trial)} "
                "Where an earlier version made it, delete its folder: it is measured again."
            )
    names = list(dict.fromkeys(name for trial in trials for name in trial))
    metrics = {name: over_trials.mean([trial.get(name) for trial in trials]) for name in names}
    made = next((folder for folder in cell.artifacts if folder not in missing), None)
    guess = chance(root, made, cell.figure) if made is not None else None
    return FilledCell(cell, tuple(trial.get(cell.metric) for trial in trials), metrics, guess)


def _compare(
    comparison: Comparison, columns: Sequence[str], read: dict[tuple[str, str], FilledCell]
) -> list[Compared | Unanswered]:
    """One for each column in question in which both rows have a cell; where there is none, why."""
    found: list[Compared | Unanswered] = []
    for column in columns:
        if column not in (comparison.columns or columns):
            continue
        first, second = read.get((comparison.row, column)), read.get((comparison.against, column))
        if first is None or second is None:
            continue
        difference = paired_difference(first.values, second.values)
        if not first.measured_like(second):
            found.append(Unanswered(comparison, column, "{names} are measured differently there"))
        elif difference is None:
            found.append(Unanswered(comparison, column, "no trial has a figure of both {names}"))
        else:
            found.append(Compared(comparison, column, first.cell.figure, difference))
    return found or [Unanswered(comparison, "", "no column has cells of both {names}")]


def digits(table_figures: Sequence[FilledCell], metric: str) -> int:
    """Decimals that suit a metric's size: one for percentages, three for figures below one."""
    return decimals_for([figure.mean for figure in table_figures if figure.cell.metric == metric])


def decimals_for(means: Sequence[Value]) -> int:
    """The same of means of one metric."""
    largest = max((abs(mean) for mean in means if mean is not None), default=0.0)
    return 1 if largest >= 10 else 2 if largest > 1 else 3
