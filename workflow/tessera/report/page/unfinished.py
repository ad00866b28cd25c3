"""The page of a study that stopped short: what is made, and what failed. Tables and marker wait until all is made."""

from collections.abc import Sequence
from pathlib import Path

from tessera.files import replace_text
from tessera.jobs import SummarizeStudy
from tessera.report.page.study import Failure, Unfinished, study_page
from tessera.report.pictures.album import make_album
from tessera.report.tables.table import read_table

FILE = "unfinished.html"


def write_unfinished(summary: SummarizeStudy, root: Path, failed: Sequence[Failure]) -> Path:
    """Writes `results/<study>/unfinished.html` and returns it; no other file is touched.

    `summarize` removes it when the study is complete.

    Args:
        summary: The study as it should be.
        failed: Its jobs that failed.

    Raises:
        ArtifactError: If an artifact that is there is damaged.
    """

    def made(folders: Sequence[str]) -> tuple[str, ...]:
        return tuple(folder for folder in folders if (root / folder / "artifact.json").exists())

    there = made(summary.artifacts)
    found = summary.model_copy(update={"artifacts": there})
    table = read_table(found, root, unfinished=True)
    cells = [cell.model_copy(update={"artifacts": made(cell.artifacts)}) for cell in summary.cells]
    drawn = found.model_copy(update={"cells": tuple(cell for cell in cells if cell.artifacts)})
    stopped = Unfinished(len(there), len(summary.artifacts), tuple(failed))
    page = root / "results" / summary.name / FILE
    replace_text(page, study_page(table, make_album(drawn, root), root, stopped))
    return page
