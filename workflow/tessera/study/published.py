"""Published values of a table, from a CSV file."""

from csv import DictReader
from pathlib import Path

from tessera.errors import StudyError
from tessera.registry import suggest


def read_published(file: Path, shown: str, rows: list[str], columns: list[str]) -> dict[tuple[str, str], float]:
    """Values by row and column, from the columns row, column, value.

    Args:
        shown: The file's path as the user knows it, for messages.
        rows, columns: Labels that the study has.

    Raises:
        StudyError: If a line names no row or column of the study, or no number.
    """
    values: dict[tuple[str, str], float] = {}
    with file.open(newline="", encoding="utf-8") as lines:
        reader = DictReader(lines)
        if not {"row", "column", "value"} <= set(reader.fieldnames or ()):
            raise StudyError(f"{shown}: needs the columns row, column, value, but has {reader.fieldnames}")
        for number, line in enumerate(reader, start=2):
            for what, known in (("row", rows), ("column", columns)):
                if line[what] not in known:
                    raise StudyError(f"{shown}, line {number}: no {what} '{line[what]}'. {suggest(line[what], known)}")
            try:
                values[line["row"], line["column"]] = float(line["value"])
            except (TypeError, ValueError):
                raise StudyError(
                    f"{shown}, line {number}: `value` should be a number, but is {line['value']!r}"
                ) from None
    return values
