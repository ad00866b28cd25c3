"""The relative change against one row, over columns: a figure of a trial that is made of other figures."""

from collections.abc import Mapping

from tessera.figures import Figure
from tessera.jobs import Cell, DeltaColumn
from tessera.report.tables.filled import FilledCell
from tessera.report.trials import Value

RELATIVE_CHANGE = Figure(name="delta", unit="%")


def relative_changes(delta: DeltaColumn, read: Mapping[tuple[str, str], FilledCell]) -> list[FilledCell]:
    """The cells of the column, from the top, and after them those of the row `against`, whose mean is 0.

    A trial without one of the figures has none.

    Per trial the mean over columns t of (-1)^l (M_t - B_t) / B_t, %: M_t the row's figure, B_t the mean over trials of
    the row `against`, l = 1 where lower is better (DGR, Eq. 6).
    """
    base = {column: read[delta.against, column] for column in delta.columns}
    found = []
    for row in (*delta.rows, delta.against):
        own = [read[row, column] for column in delta.columns]
        trials = zip(*(cell.values for cell in own), strict=True)
        changes = tuple(_mean_change(trial, tuple(base.values())) for trial in trials)
        cell = Cell(
            row=row,
            column=delta.label,
            protocol="",
            figure=RELATIVE_CHANGE,
            artifacts=(),
            published=delta.published.get(row),
        )
        found.append(FilledCell(cell, changes, {}, None))
    return found


def how_changed(delta: DeltaColumn, read: Mapping[tuple[str, str], FilledCell]) -> str:
    """What the column is, in words; where nothing can be relative to a figure, why it is empty."""
    over = f"mean over {', '.join(delta.columns)}" if len(delta.columns) > 1 else delta.columns[0]
    text = (
        f"Change relative to the mean of {delta.against} over trials, {over}, %; a change for "
        "the better is positive, also where lower is better."
    )
    zero = [column for column in delta.columns if read[delta.against, column].mean == 0]
    return f"{text} No figure: {delta.against} has 0 in {zero[0]}, to which nothing is relative." if zero else text


def _mean_change(trial: tuple[Value, ...], base: tuple[FilledCell, ...]) -> Value:
    changes = []
    for value, against in zip(trial, base, strict=True):
        if value is None or not against.mean:
            return None
        sign = -1 if against.cell.figure.lower_is_better else 1
        changes.append(sign * 100 * (value - against.mean) / against.mean)
    return sum(changes) / len(changes)
