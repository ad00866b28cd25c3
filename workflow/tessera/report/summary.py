"""Stage `summarize_study`: from the measuring artifacts of a study to its result files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tessera.files import remove_drafts, replace_text
from tessera.jobs import STAGES, SummarizeStudy
from tessera.report import marker as markers
from tessera.report.page.study import study_page
from tessera.report.page.unfinished import FILE as UNFINISHED
from tessera.report.pictures.album import make_album
from tessera.report.records import versions
from tessera.report.runs import Runs
from tessera.report.tables.along import FILE as ALONG
from tessera.report.tables.along import as_along_csv
from tessera.report.tables.curves import curves
from tessera.report.tables.latex import latex
from tessera.report.tables.machine_readable import as_csv, as_json, as_metrics
from tessera.report.tables.markdown import markdown, no_html
from tessera.report.tables.table import Table, read_table


def summarize(summary: SummarizeStudy, root: Path) -> str:
    """Writes `results/<study>/`: tables, report.html, metrics.json, curves.csv, figures/ and, last, the marker.

    Where cells are measured along trainings, along.csv as well.

    Args:
        summary: The study's rows, columns, cells and artifacts.
        root: The working directory, in which the artifacts' paths start.

    Returns:
        The table as Markdown.

    Raises:
        ArtifactError: If an artifact is missing or damaged; then no file is touched.
    """
    table = read_table(summary, root)
    text = markdown(table)
    album = make_album(summary, root)
    if album.pictures:
        links = [f"[{no_html(picture.title)}](figures/{picture.file})" for picture in album.pictures]
        text += f"\nPictures: {', '.join(links)}.\n"
    runs = Runs(root, summary.artifacts)
    files = {
        "table.md": text,
        "table.csv": as_csv(table),
        "table.tex": latex(table),
        "table.json": _dump(as_json(table, runs.made)),
        "metrics.json": _dump(as_metrics(table, runs.skipped())),
        "curves.csv": curves(root, summary.artifacts),
        "report.html": study_page(table, album, root),
    }
    if table.courses:
        files[ALONG] = as_along_csv(table.courses)
    marker = root / summary.marker
    remove_drafts(marker.parent)
    # First of all, so that no marker ever stands beside another configuration's tables, even after a crash here.
    for older in marker.parent.glob("provenance-*.json"):
        older.unlink()
    for name, content in files.items():
        replace_text(marker.parent / name, content)
    album.write(marker.parent / "figures")
    for gone in (UNFINISHED, *(() if table.courses else (ALONG,))):
        (marker.parent / gone).unlink(missing_ok=True)
    written = {f"figures/{name}": data for name, data in album.files.items()}
    written |= {name: content.encode() for name, content in files.items()}
    replace_text(marker, _dump(_provenance(table, root, written)))
    return text


def _provenance(table: Table, root: Path, files: Mapping[str, bytes]) -> dict[str, Any]:
    summary = table.summary
    return {
        "key": summary.key,
        "study": summary.name,
        "scale": summary.scale,
        "trials": summary.trials,
        "artifacts": list(summary.artifacts),
        "stages": {name: stage.version for name, stage in STAGES.items()},
        "versions": versions(root, summary.artifacts),
        "files": markers.stated(files),
    }


def _dump(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
