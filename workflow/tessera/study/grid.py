"""Expands a study's grid: rows, columns, and the settings of each cell."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from tessera import registry
from tessera.errors import StudyError, brief
from tessera.study.schema import Row, Settings, Study
from tessera.study.settings import Answers, answers, spelled

MOST_CELLS, MOST_KEYS, LONGEST_LABEL = 10_000, 100, 300


class Line(NamedTuple):
    """A row or a column: its name, and the settings that make it. Keys are dotted, `+` joins several."""

    label: str
    settings: Settings


UNNAMED = Line("", {})  # the column of a grid that has none


class GridCell(NamedTuple):
    """One cell, before its settings are resolved.

    Attributes:
        extra: It stands in a row under `also`.
        of_row: Keys of the settings that the row names; the column names the others.
    """

    row: str
    column: str
    settings: Settings
    extra: bool = False
    of_row: frozenset[str] = frozenset()

    def where(self) -> str:
        """Row and column, for messages."""
        named = (("row", self.row), ("column", self.column))
        return ", ".join(f"{what} '{brief(word)}'" for what, word in named if word)


def expand(study: Study, shown: str) -> tuple[list[str], list[str], list[GridCell]]:
    """Labels of the rows, labels of the columns, and the cells, row by row.

    An extra row (`also`) that names its `column` stands there alone, be it one that the grid has or a new one: extra
    rows of one label, each of a column of its own, are one row of the table. One that names none is crossed with every
    column; where it sets a column's own key, it stands in the column of that value instead, which is added if there is
    none.

    Raises:
        StudyError: If there are too many cells, if two rows or two columns have one name, if one of them answers a key
            twice, if rows and columns answer the same one, if no row stands in a column, or if an extra row names a
            column that is not its own, or shares its label with another without naming a column each.
    """
    _refuse_too_many(study, shown)
    rows = _lines(study.grid.rows)
    columns = _lines(study.grid.columns)
    extra = [Line(row.label, _settings(row)) for row in study.also]
    _refuse_twin_rows(rows, study.also, shown)
    _refuse_twins([line.label for line in columns], "columns", shown)
    _refuse_two_answers(rows, extra, columns, shown)
    if not rows and not study.also:
        rows = [Line(study.title, {})]
    cells = [
        GridCell(row.label, column.label, {**column.settings, **row.settings}, of_row=frozenset(row.settings))
        for row in rows
        for column in columns or [UNNAMED]
    ]
    all_columns = columns or [UNNAMED]
    there = {id(line) for line in all_columns}
    for row in study.also:
        for column in _columns_of(row, columns, all_columns, shown):
            if id(column) not in there:
                all_columns = [*all_columns, column]
                there.add(id(column))
            own = _settings(row)
            cells.append(GridCell(row.label, column.label, {**column.settings, **own}, True, frozenset(own)))
    used = {cell.column for cell in cells}
    for column in columns:
        if column.label not in used:
            raise StudyError(
                f"{shown}: `grid.columns`: no row stands in '{column.label}', since each sets a value of its own for "
                f"`{next(iter(column.settings))}`: leave the column out, or add a row"
            )
    labels = list(dict.fromkeys(line.label for line in [*rows, *extra]))
    return labels, [line.label for line in all_columns if line.label in used], cells


def words_of(key: str, value: Any) -> str:
    """How a setting reads as a label.

    >>> words_of("source.method", "tte"), words_of("target.label_fraction", 0.1)
    ('tte', 'label_fraction 0.1')
    >>> words_of("source.tasks", ["jigsaw", {"name": "colorization", "neighbors": 10}])
    'jigsaw+colorization neighbors=10'
    >>> words_of("source.tasks", ["my_package.my_module:QuarterTurn"])
    'quarter_turn'
    """
    if isinstance(value, str):
        return registry.label(value) if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value) else value
    if isinstance(value, Mapping):
        name = value.get("name", value.get("method", ""))
        rest = [f"{k}={v}" for k, v in value.items() if k not in ("name", "method")]
        return " ".join([words_of(key, str(name))] * bool(name) + rest)
    if isinstance(value, list | tuple):
        return "+".join(words_of(key, item) for item in value) or "none"
    return f"{key.rpartition('.')[2]} {value}"


def _refuse_too_many(study: Study, shown: str) -> None:
    """Refuses what no one would wait for, before it is expanded."""
    numbers = {}
    for what, spec in (("rows", study.grid.rows), ("columns", study.grid.columns), ("also", [*study.also])):
        listed = [_settings(item) for item in spec] if isinstance(spec, list) else [spec]
        where = f"{shown}: `{what if what == 'also' else f'grid.{what}'}`"
        if (most := max((len(settings) for settings in listed), default=0)) > MOST_KEYS:
            raise StudyError(f"{where}: one entry has {most:,} keys, but at most {MOST_KEYS} are taken")
        lists = spec.values() if isinstance(spec, Mapping) else [listed]
        numbers[what] = math.prod(len(values) for values in lists) if spec else 0
    num_rows = numbers["rows"] + numbers["also"] or 1
    if (cells := num_rows * (numbers["columns"] or 1)) > MOST_CELLS:
        raise StudyError(
            f"{shown}: `grid`: {num_rows:,} rows in {numbers['columns'] or 1:,} columns make {cells:,} cells, but at "
            f"most {MOST_CELLS:,} are taken: shorten its lists, or make several studies"
        )


def _lines(spec: Mapping[str, list[Any]] | list[Settings]) -> list[Line]:
    if isinstance(spec, Mapping):
        chosen = [dict(zip(spec, values, strict=True)) for values in itertools.product(*spec.values())] if spec else []
        return [Line(_label(settings), settings) for settings in chosen]
    return [Line(str(item["label"]) if "label" in item else _label(_settings(item)), _settings(item)) for item in spec]


def _label(settings: Settings) -> str:
    return brief(", ".join(words_of(key, value) for key, value in settings.items()), LONGEST_LABEL)


def _settings(row: Row | Settings) -> Settings:
    content = row.model_dump() if isinstance(row, Row) else row
    return {key: value for key, value in content.items() if key not in ("label", "column")}


def _columns_of(row: Row, columns: list[Line], known: list[Line], shown: str) -> list[Line]:
    own = _settings(row)
    if not columns:
        line = Line(row.column or "", {})
        return [next((other for other in known if other == line), line)]
    named = next((column for column in columns if column.label == row.column), None)
    found: list[Line] = []
    for column in [named] if named is not None else columns:
        replaced = {key: own[key] for key in column.settings if key in own}
        settings = {**column.settings, **replaced}
        twin = next((line for line in known if replaced and line.settings == settings), None)
        line = column if not replaced else twin or named or Line(row.column or _label(settings), settings)
        if not replaced or all(line.settings != other.settings for other in found):
            found.append(line)
    # Columns that differ in nothing but what the row sets are one for it: no new one stands beside one of the grid.
    there = [line for line in found if any(line is other for other in known)]
    kept: list[Line] = []
    for line in found:
        if line in there or all(line.settings | own != other.settings | own for other in [*there, *kept]):
            kept.append(line)
    found = kept
    if row.column is None:
        return found
    labels = [line.label for line in found]
    if labels.count(row.column) != 1:
        places, key = ", ".join(f"'{label}'" for label in labels), next(iter(columns[0].settings), "")
        raise StudyError(
            f"{shown}: `also`: row '{row.label}' names `column: {row.column}`, but its settings put it into {places}: "
            f"leave `column` out, or set `{key}` to a value that no column has"
        )
    return [line for line in found if line.label == row.column]


def _refuse_twins(labels: list[str], what: str, shown: str) -> None:
    for label, times in Counter(labels).items():
        if times > 1:
            raise StudyError(f"{shown}: two {what} are named '{brief(label)}'. Give one of them another `label`.")


def _refuse_twin_rows(rows: list[Line], also: list[Row], shown: str) -> None:
    """Refuses two rows of one name, save under `also`, where each names another column."""
    _refuse_twins([*(line.label for line in rows), *dict.fromkeys(row.label for row in also)], "rows", shown)
    for label, times in Counter(row.label for row in also).items():
        places = [row.column for row in also if row.label == label]
        if times > 1 and None in places:
            raise StudyError(
                f"{shown}: `also`: two rows are named '{brief(label)}': name the `column` of each, and they are one "
                "row of the table, or give one of them another `label`"
            )
        for place, both in Counter(places).items():
            if both > 1:
                raise StudyError(
                    f"{shown}: `also`: two rows named '{brief(label)}' name `column: {brief(place or '')}`: each needs "
                    "another"
                )


def _refuse_two_answers(rows: list[Line], extra: list[Line], columns: list[Line], shown: str) -> None:
    """Refuses two answers to one key, within a row or column, or by a row and a column at once."""
    across: Answers = Answers()
    for column in columns:
        for path, written in answers(column.settings, f"{shown} (column '{brief(column.label)}')").items():
            across.add(path, written)
    for row in rows:
        for path in answers(row.settings, f"{shown} (row '{brief(row.label)}')"):
            if other := across.clashing(path):
                key = spelled(min(path, other, key=len))
                raise StudyError(f"{shown}: `grid`: both rows and columns set `{key}`: leave it to one of them")
    for row in extra:
        for path, written in answers(row.settings, f"{shown} (row '{brief(row.label)}')").items():
            other = across.clashing(path)
            # A row may leave a column of two keys one of them; it stands in another column by the column's own key.
            if other and across.written[other] != written and "+" not in across.written[other]:
                raise StudyError(
                    f"{shown}: `also`: row '{brief(row.label)}' sets `{spelled(other)}` by `{written}`, but the "
                    f"columns by `{across.written[other]}`: write it as they do"
                )
