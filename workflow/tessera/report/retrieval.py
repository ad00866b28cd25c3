"""To be drawn."""

from pathlib import Path

from tessera.report.pictures import Picture
from tessera.study.jobs import SummarizeStudy


def draw_retrieval(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    return []


def draw_map(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    return []


def draw_confusion(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    return []
