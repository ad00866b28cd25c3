"""Expands a study's grid: rows, columns, and the settings of each cell. Knows nothing of what the settings mean."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tessera.errors import StudyError
from tessera.study.schema import Row, Settings, Study


class Line(NamedTuple):
    """A row or a column: its name, and the settings that make it. Keys are dotted, `+` joins several."""

    label: str
    settings: Settings


class GridCell(NamedTuple):
    """One cell, before its settings are resolved.

    Attributes:
        extra: It stands in a row under `also`.
    """

    row: str
    column: str
    settings: Settings
    extra: bool = False


def expand(study: Study, shown: str) -> tuple[list[str], list[str], list[GridCell]]:
    """Labels of the rows, labels of the columns, and the cells, row by row.

    An extra row (`also`) is crossed with every column; where it sets a column's own key, it stands in the
    column of that value instead, which is added if there is none.

    Raises:
        StudyError: If two rows or two columns have one name.
    """
    rows = _lines(study.grid.rows)
    columns = _lines(study.grid.columns) or [Line("", {})]
    _refuse_twins([line.label for line in rows] + [row.label for row in study.also], "rows", shown)
    _refuse_twins([line.label for line in columns], "columns", shown)
    _refuse_shared_keys(rows, columns, shown)
    if not rows and not study.also:
        rows = [Line(study.title, {})]
    cells = [GridCell(r.label, c.label, {**c.settings, **r.settings}) for r in rows for c in columns]
    all_columns = list(columns)
    for row in study.also:
        for column in _columns_of(row, columns, all_columns):
            if column not in all_columns:
                all_columns.append(column)
            own = {**column.settings, **_settings(row)}
            cells.append(GridCell(row.label, column.label, own, extra=True))
    used = {cell.column for cell in cells}
    labels = [line.label for line in rows] + [row.label for row in study.also]
    return labels, [line.label for line in all_columns if line.label in used], cells


def words_of(key: str, value: Any) -> str:
    """How a setting reads as a label.

    >>> words_of("source.method", "tte"), words_of("target.label_fraction", 0.1)
    ('tte', 'label_fraction 0.1')
    >>> words_of("source.tasks", ["jigsaw", {"name": "colorization", "neighbors": 10}])
    'jigsaw+colorization neighbors=10'
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        name = value.get("name", value.get("method", ""))
        rest = [f"{k}={v}" for k, v in value.items() if k not in ("name", "method")]
        return " ".join([str(name)] * bool(name) + rest)
    if isinstance(value, list | tuple):
        return "+".join(words_of(key, item) for item in value) or "none"
    return f"{key.rpartition('.')[2]} {value}"


def _lines(spec: Mapping[str, list[Any]] | list[Settings]) -> list[Line]:
    if isinstance(spec, Mapping):
        chosen = [dict(zip(spec, values, strict=True)) for values in itertools.product(*spec.values())] if spec else []
        return [Line(_label(settings), settings) for settings in chosen]
    return [Line(str(item.get("label", _label(_settings(item)))), _settings(item)) for item in spec]


def _label(settings: Settings) -> str:
    return ", ".join(words_of(key, value) for key, value in settings.items())


def _settings(row: Row | Settings) -> Settings:
    content = row.model_dump() if isinstance(row, Row) else row
    return {key: value for key, value in content.items() if key not in ("label", "column")}


def _columns_of(row: Row, columns: Iterable[Line], known: Iterable[Line]) -> list[Line]:
    own = _settings(row)
    found: list[Line] = []
    for column in columns:
        replaced = {key: own[key] for key in column.settings if key in own}
        settings = {**column.settings, **replaced}
        twin = next((line for line in known if line.settings == settings), None)
        label = row.column or _label(settings)
        line = column if not replaced else twin or Line(label, settings)
        if all(line.settings != other.settings for other in found):
            found.append(line)
    return found


def _refuse_twins(labels: list[str], what: str, shown: str) -> None:
    for label in labels:
        if labels.count(label) > 1:
            raise StudyError(f"{shown}: two {what} are named '{label}'. Give one of them another `label`.")


def _refuse_shared_keys(rows: list[Line], columns: list[Line], shown: str) -> None:
    keys = [
        {word.strip() for line in lines for key in line.settings for word in key.split("+")}
        for lines in (rows, columns)
    ]
    if shared := keys[0] & keys[1]:
        raise StudyError(f"{shown}: `grid`: both rows and columns set `{min(shared)}`: leave it to one of them")
