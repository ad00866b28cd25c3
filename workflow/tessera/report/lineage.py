"""Which pretrainings a study's cells come from, and what a reader would call them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tessera.report.records import manifest
from tessera.study.jobs import FOLDERS, SummarizeStudy


@dataclass(frozen=True)
class Pretraining:
    """One source encoder, over its trials.

    Attributes:
        title: The rows that it serves and, where a row has several, the columns.
        folders: Its artifacts, one a trial.
    """

    title: str
    folders: tuple[str, ...]


def pretrainings(summary: SummarizeStudy, root: Path) -> list[Pretraining]:
    """The pretrainings behind the study's cells, each once, in the order of the rows.

    Raises:
        ArtifactError: If an artifact's manifest is damaged.
    """
    served: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for cell in summary.cells:
        folders = tuple(dict.fromkeys(source for made in cell.artifacts for source in _sources(made, root)))
        if folders:
            served.setdefault(folders, []).append((cell.row, cell.column))
    ordered = sorted(served, key=lambda folders: min(summary.rows.index(row) for row, _ in served[folders]))
    return [Pretraining(_title(folders, served), folders) for folders in ordered]


def _title(folders: tuple[str, ...], served: dict[tuple[str, ...], list[tuple[str, str]]]) -> str:
    rows = dict.fromkeys(row for row, _ in served[folders])
    words = []
    for row in rows:
        several = sum(row == other for cells in served.values() for other in dict(cells)) > 1
        columns = [column for other, column in served[folders] if other == row and column]
        words.append(f"{row} ({', '.join(columns)})" if several and columns else row)
    return "; ".join(words[:2]) + (f"; {len(words) - 2} more rows" if len(words) > 2 else "")


def _sources(folder: str, root: Path) -> Iterator[str]:
    """The nearest source artifacts among a folder and what it was made from."""
    if Path(folder).parent.name == FOLDERS["pretrain_source"]:
        yield folder
        return
    inputs = manifest(root / folder).get("inputs")
    for made in inputs.values() if isinstance(inputs, dict) else ():
        yield from _sources(str(made), root)
