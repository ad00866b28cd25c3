"""What of a study's comparisons is refused before any job starts."""

from collections.abc import Iterable, Sequence

from tessera.errors import StudyError, brief
from tessera.jobs import Comparison, Delta
from tessera.registry import suggest
from tessera.study.grid import GridCell


def refuse_comparisons(
    compare: Sequence[Comparison],
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Iterable[GridCell],
    delta: Delta | None,
    shown: str,
) -> None:
    """Refuses what is known from the grid alone.

    Raises:
        StudyError: If one names a row or a column that the study lacks, a column twice, or one in which a row has no
            cell.
    """
    there = {(cell.row, cell.column) for cell in cells}
    made = [delta.label] if delta is not None else []
    for comparison in compare:
        pair = (comparison.row, comparison.against)
        for row in pair:
            if row not in rows:
                raise StudyError(f"{shown}: `compare`: no row is named '{brief(row)}'. {suggest(row, rows)}")
        named = comparison.columns or ()
        for index, column in enumerate(named):
            where = f"{shown}: `compare`: row '{brief(pair[0])}' against '{brief(pair[1])}': `columns`"
            if column not in [*columns, *made]:
                raise StudyError(f"{where}: no column is named '{brief(column)}'. {suggest(column, [*columns, *made])}")
            if column in named[:index]:
                raise StudyError(f"{where}: '{brief(column)}' is named twice: leave one out")
            bare = [row for row in pair if column not in made and (row, column) not in there]
            if bare:
                raise StudyError(f"{where}: row '{brief(bare[0])}' has no cell in '{brief(column)}': leave it out")
