"""Published values of a table, from a CSV file."""

import csv
import math
from csv import DictReader
from io import StringIO
from pathlib import Path

from tessera.errors import StudyError, brief
from tessera.registry import suggest
from tessera.study.study_files import is_file, shown_path


def published_of(
    name: str | None, study: Path, root: Path, rows: list[str], columns: list[str]
) -> dict[tuple[str, str], float]:
    """Values of a study by row and column; none where it names no file (`read_published`).

    Args:
        name: Of the file, relative to the study's folder.
        study: The study's file.
        root: The project's folder.
    """
    if name is None:
        return {}
    file = study.parent / name
    if not is_file(file):
        raise StudyError(f"{shown_path(study, root)}: `published`: no file {brief(shown_path(file, root))}")
    return read_published(file, shown_path(file, root), rows, columns)


def read_published(file: Path, shown: str, rows: list[str], columns: list[str]) -> dict[tuple[str, str], float]:
    """Values by row and column, from the columns row, column, value.

    Args:
        shown: The file's path as the user knows it, for messages.
        rows, columns: Labels that the study has.

    Raises:
        StudyError: If a line names no row or column of the study, or no number, or what another line has named.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")  # spreadsheets put a mark before it
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise StudyError(f"{shown}: cannot be read: {reason}") from error
    values: dict[tuple[str, str], float] = {}
    reader = DictReader(StringIO(text))
    try:
        lines = [(reader.line_num, line) for line in reader]
    except csv.Error as error:
        raise StudyError(f"{shown}, line {reader.line_num}: not valid CSV: {error}") from error
    if not {"row", "column", "value"} <= set(reader.fieldnames or ()):
        raise StudyError(
            f"{shown}: needs the columns `row`, `column`, `value`, but has {brief(repr(reader.fieldnames))}"
        )
    for number, line in lines:
        where = f"{shown}, line {number}"
        for what, known in (("row", rows), ("column", columns)):
            if line[what] not in known:
                raise StudyError(f"{where}: no {what} '{brief(line[what] or '')}'. {suggest(line[what] or '', known)}")
        place = line["row"], line["column"]
        if place in values:
            raise StudyError(
                f"{where}: row '{brief(place[0])}', column '{brief(place[1])}' has a value already: remove one"
            )
        values[place] = _number(line["value"], where)
    return values


def _number(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise StudyError(f"{where}: `value` should be a number, but is {brief(repr(text))}")
    return value
