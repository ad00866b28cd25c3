"""The page of all studies: a card each, from their table.json alone."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from tessera.files import replace_text
from tessera.report.dots import Axis, Strip, nice_ticks
from tessera.report.page import day, environment
from tessera.report.unfinished import FILE as UNFINISHED

ROWS_SHOWN = 8
FILES = {
    "report.html": "Report",
    "table.md": "Markdown",
    "table.csv": "CSV",
    "table.tex": "LaTeX",
    "table.json": "JSON",
}


@dataclass(frozen=True)
class Card:
    """One study."""

    name: str
    title: str
    made: str
    headline: str
    about: str
    column: str
    strips: tuple[Strip, ...]
    ticks: tuple[tuple[float, str], ...]
    more: int
    links: tuple[tuple[str, str], ...]


def write_index(root: Path) -> Path:
    """Writes `results/index.html` over the studies that are there, and returns it. Needs no artifacts.

    Equal results give equal bytes.
    """
    results = root / "results"
    (root / "resume").mkdir(exist_ok=True)
    with FileLock(root / "resume" / "results.lock"):  # two studies may end at once
        cards = [card for path in sorted(results.glob("*/table.json")) if (card := _card(path)) is not None]
        stopped = [path.parent.name for path in sorted(results.glob(f"*/{UNFINISHED}"))]
        page = environment().get_template("index.html").render(cards=cards, stopped=stopped, unfinished=UNFINISHED)
        replace_text(results / "index.html", page)
    return results / "index.html"


def _card(path: Path) -> Card | None:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        column = next(iter(table["columns"]), "")
        strips, ticks = _strips([cell for cell in table["cells"] if cell["column"] == column])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a table of another version says nothing here; its study writes it anew
    trials = table.get("trials", 1)
    about = f"{len(table['rows'])} × {len(table['columns'])} cells, {trials} trial{'s' if trials != 1 else ''}, "
    links = tuple((name, text) for name, text in FILES.items() if (path.parent / name).exists())
    return Card(
        path.parent.name,
        str(table.get("title") or path.parent.name),
        day(str(table.get("made") or "")),
        str(table.get("headline") or ""),
        f"{about}scale {table.get('scale', '?')}",
        column,
        strips[:ROWS_SHOWN],
        ticks,
        max(0, len(strips) - ROWS_SHOWN),
        links,
    )


def _strips(cells: list[Mapping[str, Any]]) -> tuple[tuple[Strip, ...], tuple[tuple[float, str], ...]]:
    """Dots of one column, of the cells that are measured like the first, and the ticks below them."""
    alike = [cell for cell in cells if cell["metric"] == cells[0]["metric"]]
    numbers = [value for cell in alike for value in (*cell["values"], cell["published"]) if value is not None]
    if not numbers:
        return (), ()
    axis = Axis(tuple(nice_ticks(min(numbers), max(numbers))))
    strips = tuple(
        Strip(
            cell["row"],
            tuple((axis.place(value), f"{value:g}") for value in cell["values"] if value is not None),
            axis.at(cell["mean"]),
            axis.at(cell["published"]),
            False,
            f"{cell['row']}: {'none' if cell['mean'] is None else format(cell['mean'], '.4g')}",
        )
        for cell in alike
    )
    return strips, axis.ticks
