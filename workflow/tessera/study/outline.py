"""A study's table as its file says it, before any setting is resolved."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tessera.study.comparisons import refuse_comparisons
from tessera.study.delta import refuse_delta
from tessera.study.files import parse, read_yaml
from tessera.study.grid import GridCell, expand
from tessera.study.left_out import Place
from tessera.study.published import published_of
from tessera.study.schema import Study
from tessera.study.study_files import shown_path


class Outline(NamedTuple):
    """What a study's file says.

    Attributes:
        name: The study's.
        shown: The file's name, for messages.
        rows: Labels of the rows.
        columns: Labels of the columns.
        cells: Every cell, row by row.
        published: What others report, by row and column.
    """

    name: str
    study: Study
    shown: str
    rows: list[str]
    columns: list[str]
    cells: list[GridCell]
    published: Mapping[Place, float]


def read_outline(name: str, path: Path, root: Path) -> Outline:
    """Reads a study's file.

    Raises:
        StudyError: If the file, its grid, its published values or its comparisons are wrong.
    """
    shown = shown_path(path, root)
    study = parse(Study, read_yaml(path, shown), shown)
    rows, columns, cells = expand(study, shown)
    if study.delta is not None:
        refuse_delta(study.delta, rows, columns, cells, shown)
    named = [*columns, study.delta.label] if study.delta is not None else columns
    published = published_of(study.published, path, root, rows, named)
    refuse_comparisons(study.compare, rows, columns, cells, study.delta, shown)
    return Outline(name, study, shown, rows, columns, cells, published)
