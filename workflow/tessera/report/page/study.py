"""The page of a study: one HTML file that opens anywhere, asks no network for anything, and prints.

Equal inputs give equal bytes: its date is that of the last artifact, never the clock's.
"""

import io
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from tessera.data.formats import FORMATS
from tessera.jobs import GeneratePretextLabels, PrepareDataset, SummarizeStudy
from tessera.report.page.dots import plots
from tessera.report.page.embed import embedded
from tessera.report.page.glossary import glossary
from tessera.report.pictures.album import Album, Picture
from tessera.report.pictures.drawing import DOTS_PER_INCH
from tessera.report.records import duration, versions
from tessera.report.runs import ArtifactRun, Runs
from tessera.report.tables.filled import FilledCell
from tessera.report.tables.markdown import measures
from tessera.report.tables.table import Table, digits
from tessera.report.words.answers import against_paper, answers, caution, gaps, headline, warnings
from tessera.report.words.sentences import number

PREPARED = (PrepareDataset.stage, GeneratePretextLabels.stage)  # what many cells share
HOUSEKEEPING = ("epoch", "learning_rate", "seconds")
FIGURES_SHOWN = 6  # of a run, on the page; metrics.json has all


@dataclass(frozen=True)
class Failure:
    """A job that failed.

    Attributes:
        why: In a line.
        log: Where it says more.
    """

    stage: str
    name: str
    why: str
    log: str


@dataclass(frozen=True)
class Unfinished:
    """How far a study came that stopped short: `made` of `total` artifacts, and what failed."""

    made: int
    total: int
    failed: tuple[Failure, ...]


def environment() -> Environment:
    """Templates that escape whatever a study says of itself."""
    made = Environment(
        loader=PackageLoader("tessera.report.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"duration": duration, "code": code, "offset": offset}
    return made


def code(text: str) -> Markup:
    """Words between backticks as code; everything else as it is written, numbers on one line with their unit.

    >>> str(code("read `a` < b"))
    'read <code>a</code> &lt; b'
    """
    kept = re.sub(r" (?=[%±] ?)|(?<=±) ", "\N{NO-BREAK SPACE}", str(escape(text)))
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", kept))


def offset(index: int, number: int) -> float:
    """How far a dot stands from the middle of its line, px, so that equal trials are seen apart."""
    return round((index - (number - 1) / 2) * min(3.5, 10 / number), 1)


def study_page(table: Table, album: Album, root: Path, unfinished: Unfinished | None = None) -> str:
    """Everything of a study that a reader wants, as HTML.

    Args:
        unfinished: What is missing, where the study stopped short.

    Raises:
        ArtifactError: If an artifact is damaged.
    """
    summary = table.summary
    runs = Runs(root, summary.artifacts)
    settings = _settings(runs)
    return (
        environment()
        .get_template("study.html")
        .render(
            summary=summary,
            unfinished=unfinished,
            made=day(runs.made),
            headline=headline(table),
            answers=answers(table),
            caution=caution(table),
            against_paper=against_paper(table),
            warnings=warnings(table, runs),
            gaps=gaps(table, runs),
            heads=_heads(table),
            rows=_rows(table),
            any_best=any(table.is_best(figure) for figure in table.figures.values()),
            measures=measures(table),
            plots=(drawn := plots(table)),
            shared_scale=len({plot.metric for plot in drawn}) < len(drawn),
            words=glossary(table, runs),
            cost=table.cost,
            stages=[(name, *spent) for name, spent in runs.seconds_by_stage().items()],
            slowest=max(runs.all, key=lambda run: run.seconds, default=None),
            albums=_by_category(album),
            cells=_cells_of(table, runs),
            shared=[run for run in runs.all if run.stage in PREPARED],
            settings=settings,
            settings_of={run.folder: index for index, group in enumerate(settings) for run in group.runs},
            shown=shown_figures,
            command=command(summary, runs),
            versions=versions(root, summary.artifacts),
            commits=runs.commits(),
            hardware=runs.hardware(),
        )
    )


def day(moment: str) -> str:
    """Date and time to the minute of an ISO moment, as a reader writes it.

    >>> day("2031-05-04T10:34:52+00:00")
    '2031-05-04 10:34 UTC'
    """
    return f"{moment[:10]} {moment[11:16]} UTC" if moment else ""


def command(summary: SummarizeStudy, runs: Runs) -> str:
    """What to type to get the same again."""
    commits = [commit.split()[0] for commit in runs.commits()]
    lines = [f"git checkout {shlex.quote(commits[0])}"] if len(set(commits)) == 1 else []
    words = [f"scale={shlex.quote(summary.scale)}", f"trials={summary.trials}"]
    if summary.run.precision != "auto":
        words.append(f"precision={summary.run.precision}")
    lines.append(f"snakemake --cores all {summary.name} --config {' '.join(words)}")
    return "\n".join(lines)


def shown_figures(run: ArtifactRun) -> list[tuple[str, str]]:
    """The first figures of a run, in words."""
    told = [(name, value) for name, value in run.metrics.items() if name not in HOUSEKEEPING]
    return [(name, "none" if value is None else f"{value:.4g}") for name, value in told[:FIGURES_SHOWN]]


def _by_category(album: Album) -> dict[str, list[tuple[Picture, str, float]]]:
    """Pictures with their data and their width in print, inches: style.css turns that into a share of the page."""
    found: dict[str, list[tuple[Picture, str, float]]] = {}
    uris = embedded(album)
    for picture in album.pictures:
        with Image.open(io.BytesIO(album.files[picture.file]), formats=FORMATS) as image:
            inches = round(image.width / DOTS_PER_INCH, 2)
        found.setdefault(picture.category, []).append((picture, uris[picture.file], inches))
    return found


def _heads(table: Table) -> list[dict[str, Any]]:
    """Columns of the study, and whether the paper has figures there."""
    found = []
    for index, column in enumerate(table.summary.columns):
        figures = table.in_column(column)
        name = column or ", ".join(dict.fromkeys(figure.cell.metric for figure in figures))
        found.append({"index": index, "name": name, "paper": any(f.cell.published is not None for f in figures)})
    return found


def _rows(table: Table) -> list[dict[str, Any]]:
    return [
        {
            "name": row,
            "cells": [_cell(table, table.at(row, column), x, y) for x, column in enumerate(table.summary.columns)],
        }
        for y, row in enumerate(table.summary.rows)
    ]


def _cell(table: Table, figure: FilledCell | None, x: int, y: int) -> dict[str, Any]:
    if figure is None:
        return {"there": False, "id": "", "few": "", "best": False}
    decimals = digits(list(table.figures.values()), figure.cell.metric)

    def text(value: float | None, sign: bool = False) -> str:
        return "" if value is None else number(value, decimals, sign=sign)

    there = sum(value is not None for value in figure.values)
    return {
        "there": True,
        "id": cell_id(x, y) if figure.cell.artifacts else "",
        "value": figure.mean,
        "mean": text(figure.mean),
        "std": text(figure.std),
        "paper": figure.cell.published,
        "paper_text": "" if figure.cell.published is None else f"{figure.cell.published:g}",
        "gap": figure.difference,
        "gap_text": text(figure.difference, sign=True),
        "best": table.is_best(figure),
        "few": f"{there} of {len(figure.values)} trials" if there < len(figure.values) else "",
    }


def cell_id(x: int, y: int) -> str:
    """Where the runs of a cell stand on the page."""
    return f"runs-{y + 1}-{x + 1}"


@dataclass(frozen=True)
class CellRuns:
    """What led to a cell, trial by trial: artifacts from the measuring one back to the pretraining."""

    id: str
    name: str
    trials: tuple[tuple[int, str, tuple[ArtifactRun, ...]], ...]


def _cells_of(table: Table, runs: Runs) -> list[CellRuns]:
    found = []
    for y, row in enumerate(table.summary.rows):
        for x, column in enumerate(table.summary.columns):
            figure = table.at(row, column)
            if figure is None or not figure.cell.artifacts:
                continue
            decimals = digits(list(table.figures.values()), figure.cell.metric)
            trials = []
            for trial, (folder, value) in enumerate(zip(figure.cell.artifacts, figure.values, strict=True)):
                chain = tuple(run for run in runs.chain(folder) if run.stage not in PREPARED)
                trials.append((trial, "no figure" if value is None else number(value, decimals + 1), chain))
            found.append(CellRuns(cell_id(x, y), f"{row}, {column}" if column else row, tuple(trials)))
    return found


@dataclass(frozen=True)
class Settings:
    """One resolved configuration of a stage, and the artifacts that have it."""

    stage: str
    text: str
    runs: tuple[ArtifactRun, ...]


def _settings(runs: Runs) -> list[Settings]:
    found: dict[tuple[str, str], list[ArtifactRun]] = {}
    for run in runs.all:
        if run.settings:
            found.setdefault((run.stage, run.settings), []).append(run)
    return [Settings(stage, text, tuple(those)) for (stage, text), those in found.items()]
