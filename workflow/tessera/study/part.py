"""A part of a study: some of its rows, some of its columns, as the configuration names them."""

from collections.abc import Sequence
from typing import NamedTuple

from tessera.errors import StudyError, brief
from tessera.registry import suggest
from tessera.study.grid import GridCell


class Part(NamedTuple):
    """Labels of the rows and of the columns to run; none: all of them."""

    rows: Sequence[str] | None = None
    columns: Sequence[str] | None = None

    def of(self, cells: Sequence[GridCell], name: str, shown: str) -> list[GridCell]:
        """The cells of a study that are in these rows and columns.

        Args:
            name: The study's.
            shown: Name of the configuration, for messages.

        Raises:
            StudyError: If the study lacks one of them, or if no cell is in both a row and a column of them.
        """
        for key, wanted, known in (
            ("rows", self.rows, {cell.row: None for cell in cells}),
            ("columns", self.columns, {cell.column: None for cell in cells if cell.column}),
        ):
            for label in wanted or ():
                if label not in known:
                    near = suggest(label, list(known)) if known else f"Its {key} have no names."
                    raise StudyError(
                        f"{shown} (or --config): `{key}`: study '{name}' has no {key[:-1]} '{brief(label)}'. {near} "
                        "They are of every study in `studies`: name there the one that is meant."
                    )
        found = [
            cell
            for cell in cells
            if (self.rows is None or cell.row in self.rows) and (self.columns is None or cell.column in self.columns)
        ]
        if not found:
            raise StudyError(f"{shown} (or --config): `rows`, `columns`: study '{name}' has no cell in {self.words()}")
        return found

    def words(self) -> str:
        """The part in words; empty where it is all.

        >>> Part(rows=["KD"], columns=["few", "all"]).words()
        "row 'KD', columns 'few', 'all'"
        """
        named = (("row", self.rows), ("column", self.columns))
        told = [(what, dict.fromkeys(labels)) for what, labels in named if labels is not None]
        return ", ".join(
            f"{what}{'s' * (len(labels) > 1)} " + ", ".join(f"'{brief(label)}'" for label in labels)
            for what, labels in told
        )


WHOLE = Part()
