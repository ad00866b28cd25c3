"""Which trainings a study's cells come from, and what a reader would call them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.jobs import FOLDERS, SummarizeStudy
from tessera.report.records import manifest
from tessera.report.words.sentences import listed


@dataclass(frozen=True)
class Training:
    """One training, over its trials.

    Attributes:
        title: The rows that it serves and, where a row has several, the columns.
        folders: Its artifacts, one a trial.
    """

    title: str
    folders: tuple[str, ...]


Pretraining = Training  # of a source encoder


def pretrainings(summary: SummarizeStudy, root: Path) -> list[Training]:
    """The pretrainings behind the study's cells, each once, in the order of the rows.

    Raises:
        ArtifactError: If an artifact's manifest is damaged.
    """
    return _trainings(summary, root, FOLDERS["pretrain_source"])


def transfers(summary: SummarizeStudy, root: Path) -> list[Training]:
    """The same of the trainings of target networks."""
    return _trainings(summary, root, FOLDERS["transfer_knowledge"])


def _trainings(summary: SummarizeStudy, root: Path, stage: str) -> list[Training]:
    served: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for cell in summary.cells:
        folders = tuple(dict.fromkeys(source for made in cell.artifacts for source in _nearest(made, root, stage)))
        if folders:
            served.setdefault(folders, []).append((cell.row, cell.column))
    ordered = sorted(served, key=lambda folders: min(summary.rows.index(row) for row, _ in served[folders]))
    return [Training(_title(folders, served), folders) for folders in ordered]


def _title(folders: tuple[str, ...], served: dict[tuple[str, ...], list[tuple[str, str]]]) -> str:
    rows = dict.fromkeys(row for row, _ in served[folders])
    names = short_names(list(rows))
    words = []
    for row in names:
        several = sum(row == other for cells in served.values() for other in dict(cells)) > 1
        columns = [column for other, column in served[folders] if other == row and column]
        words.append(f"{row} ({', '.join(columns)})" if several and columns else row)
    return listed(words) if len(words) < 3 else f"{words[0]} and {len(words) - 1} other rows"


def short_names(rows: Sequence[str]) -> list[str]:
    """Rows without those that another's name is a word of: "soft targets from TTE" comes from "TTE".

    >>> short_names(["TTE", "soft targets from TTE", "equal"])
    ['TTE', 'equal']
    """

    def within(row: str, other: str) -> bool:
        return row != other and re.search(rf"(?<!\w){re.escape(row)}(?!\w)", other) is not None

    return [row for row in rows if not any(within(other, row) for other in rows)]


def _nearest(folder: str, root: Path, stage: str) -> Iterator[str]:
    """The nearest artifacts of a stage among a folder and what it was made from."""
    if Path(folder).parent.name == stage:
        yield folder
        return
    inputs = manifest(root / folder).get("inputs")
    for made in inputs.values() if isinstance(inputs, dict) else ():
        yield from _nearest(str(made), root, stage)
