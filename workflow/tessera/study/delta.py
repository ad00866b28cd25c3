"""The relative change of a study's rows against one of them: what of it is refused, and which cells it is made of."""

from collections.abc import Iterable, Mapping, Sequence

from tessera.errors import StudyError, brief
from tessera.jobs import Cell, Delta, DeltaColumn
from tessera.registry import suggest
from tessera.study.grid import GridCell


def refuse_delta(
    delta: Delta, rows: Sequence[str], columns: Sequence[str], cells: Iterable[GridCell], shown: str
) -> None:
    """Refuses what is known from the grid alone.

    Raises:
        StudyError: If it names a row or a column that the study lacks, or one in which that row has no cell; if its
            label is a column's; or if no other row has a cell in each of the columns.
    """
    if delta.against not in rows:
        raise StudyError(
            f"{shown}: `delta.against`: no row is named '{brief(delta.against)}'. {suggest(delta.against, list(rows))}"
        )
    if delta.label in columns:
        raise StudyError(
            f"{shown}: `delta.label`: a column is named '{brief(delta.label)}' already: give it another label"
        )
    there = {(cell.row, cell.column) for cell in cells}
    for index, column in enumerate(delta.columns or ()):
        if column not in columns:
            raise StudyError(
                f"{shown}: `delta.columns`: no column is named '{brief(column)}'. {suggest(column, list(columns))}"
            )
        if (delta.against, column) not in there:
            raise StudyError(
                f"{shown}: `delta.columns`: row '{brief(delta.against)}' has no cell in '{brief(column)}': leave it out"
            )
        if column in (delta.columns or ())[:index]:
            raise StudyError(f"{shown}: `delta.columns`: '{brief(column)}' is named twice: leave one out")
    wanted = delta.columns or [column for column in columns if (delta.against, column) in there]
    others = [row for row in rows if row != delta.against]
    if not any(all((row, column) in there for column in wanted) for row in others):
        listed = ", ".join(f"'{brief(column)}'" for column in wanted)
        raise StudyError(
            f"{shown}: `delta`: no row beside '{brief(delta.against)}' has a cell in each of {listed}: name "
            "fewer `delta.columns`"
        )


def delta_column(
    delta: Delta,
    cells: Sequence[Cell],
    left_out: Sequence[tuple[str, str]],
    published: Mapping[tuple[str, str], float],
    shown: str,
) -> tuple[DeltaColumn | None, str]:
    """The column to add, and what is left out, in words; None where a cell of the row that all are compared with is.

    Args:
        left_out: Row and column of cells whose images are missing.

    Raises:
        StudyError: If a row is measured otherwise than the row that it is compared with.
    """
    gone = [column for row, column in left_out if row == delta.against and column in (delta.columns or (column,))]
    if gone:
        return None, f"column '{delta.label}', since row '{delta.against}' has nothing in '{gone[0]}'"
    base = {cell.column: cell for cell in cells if cell.row == delta.against}
    columns = tuple(delta.columns or base)
    for cell in cells:
        own = base.get(cell.column)
        if cell.column in columns and own is not None and _measured(cell) != _measured(own):
            raise StudyError(
                f"{shown}: `delta`: in column '{brief(cell.column)}' row '{brief(cell.row)}' is measured by "
                f"{_measured(cell)}, but "
                f"'{brief(delta.against)}' by {_measured(own)}: measure both alike, or leave the column out of "
                "`delta.columns`"
            )
    there = {(cell.row, cell.column) for cell in cells}
    rows = tuple(
        row
        for row in dict.fromkeys(cell.row for cell in cells)
        if row != delta.against and all((row, column) in there for column in columns)
    )
    if not rows:
        return None, f"column '{delta.label}', since no row is left that has a cell in each of its columns"
    return (
        DeltaColumn(
            label=delta.label,
            against=delta.against,
            columns=columns,
            rows=rows,
            published={row: published[row, delta.label] for row in rows if (row, delta.label) in published},
        ),
        "",
    )


def _measured(cell: Cell) -> str:
    return f"`{cell.protocol}`, figure `{cell.metric}`"
