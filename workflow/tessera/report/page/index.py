"""The page of all studies: a card each, from their table.json alone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from tessera.files import remove_drafts, replace_text
from tessera.report.page.dots import Strip, enclosing, spread
from tessera.report.page.study import day, environment
from tessera.report.page.unfinished import FILE as UNFINISHED
from tessera.report.records import duration
from tessera.report.tables.table import decimals_for

ROWS_SHOWN, ANSWERS_SHOWN = 8, 3
FILES = {
    "report.html": "Report",
    "table.md": "Markdown",
    "table.csv": "CSV",
    "table.tex": "LaTeX",
    "table.json": "JSON",
}


@dataclass(frozen=True)
class Best:
    """The best row of a column, and what it is to be seen against."""

    column: str
    row: str
    text: str
    against: str


@dataclass(frozen=True)
class Card:
    """One study.

    Attributes:
        answers: Each question and what was found, in sentences; the first ones.
        unread: How many more questions its page answers.
        column: Of which the dots are.
        more: How many more rows it has.
        about: Trials, scale, cost and date.
    """

    name: str
    title: str
    answers: tuple[tuple[str, tuple[str, ...]], ...]
    unread: int
    best: tuple[Best, ...]
    column: str
    strips: tuple[Strip, ...]
    chance: float | None
    ticks: tuple[tuple[float, str], ...]
    more: int
    about: str
    links: tuple[tuple[str, str], ...]


def write_index(root: Path) -> Path:
    """Writes `results/index.html` over the studies that are there, and returns it. Needs no artifacts.

    Equal results give equal bytes.
    """
    results = root / "results"
    (root / "resume").mkdir(exist_ok=True)
    with FileLock(root / "resume" / "results.lock"):  # two studies may end at once
        remove_drafts(results)
        cards = [card for path in sorted(results.glob("*/table.json")) if (card := _card(path)) is not None]
        stopped = [path.parent.name for path in sorted(results.glob(f"*/{UNFINISHED}"))]
        page = environment().get_template("index.html").render(cards=cards, stopped=stopped, unfinished=UNFINISHED)
        replace_text(results / "index.html", page)
    return results / "index.html"


def _card(path: Path) -> Card | None:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        cells = {column: [cell for cell in table["cells"] if cell["column"] == column] for column in table["columns"]}
        column = next(iter(cells), "")
        strips, chance, ticks = _strips(cells.get(column, []))
        asked = _answers(table)
        best = [found for name, those in cells.items() if (found := _best(name, those, table)) is not None]
        about = _about(table)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # a table of another version says nothing here; its study writes it anew
    return Card(
        path.parent.name,
        str(table.get("title") or path.parent.name),
        tuple(asked[:ANSWERS_SHOWN]),
        max(0, len(asked) - ANSWERS_SHOWN),
        tuple(best),
        column,
        strips[:ROWS_SHOWN],
        chance,
        ticks,
        max(0, len(strips) - ROWS_SHOWN),
        about,
        tuple((name, text) for name, text in FILES.items() if (path.parent / name).exists()),
    )


def _answers(table: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """Questions and what was found; the headline of a table that has none, or that is of an earlier version."""
    found: dict[str, list[str]] = {}
    for each in (*table["comparisons"], *table.get("unanswered", ())):
        if "answer" in each:
            found.setdefault(each["question"] or "", []).append(each["answer"])
    headline = str(table.get("headline") or "")
    return [(question, tuple(texts)) for question, texts in found.items()] or ([("", (headline,))] if headline else [])


def _best(column: str, cells: list[Mapping[str, Any]], table: Mapping[str, Any]) -> Best | None:
    """The best mean of a column in which all is measured alike, beside the row that the study first compares with."""
    known = [cell for cell in cells if cell["mean"] is not None]
    if len(known) < 2 or len({(cell["protocol"], cell["metric"]) for cell in cells}) > 1:
        return None
    if "lower_is_better" not in known[0]:
        return None  # a table of an earlier version does not say which is the best
    metric = known[0]["metric"]
    decimals = decimals_for([cell["mean"] for cell in known])
    best = (min if known[0]["lower_is_better"] else max)(known, key=lambda cell: float(cell["mean"]))
    controls = [each["against"] for each in table["comparisons"] if each["column"] == column and each["against"]]
    # Where it is itself what the others are compared with, the next best.
    others = sorted(
        (cell for cell in known if cell is not best),
        key=lambda cell: (_place(cell["row"], controls), abs(cell["mean"] - best["mean"])),
    )
    against = [f"{others[0]['row']} {spread(others[0]['mean'], others[0]['std'], decimals)}"]
    against += [f"chance {best['chance']:.3g}"] if best["chance"] is not None else []
    return Best(column or metric, best["row"], spread(best["mean"], best["std"], decimals), ", ".join(against))


def _place(row: str, controls: Sequence[str]) -> int:
    return controls.index(row) if row in controls else len(controls)


def _about(table: Mapping[str, Any]) -> str:
    """Trials, scale, cost and date in a line."""
    trials = table.get("trials", 1)
    words = [f"{trials} trial{'s' if trials != 1 else ''}", f"scale {table.get('scale', '?')}"]
    if cost := table.get("cost"):
        words.append(f"{cost['artifacts']} artifacts in {duration(cost['seconds'])} of compute")
    words += [f"made {day(table['made'])}"] if table.get("made") else []
    return ", ".join(words)


def _strips(
    cells: list[Mapping[str, Any]],
) -> tuple[tuple[Strip, ...], float | None, tuple[tuple[float, str], ...]]:
    """Dots of one column, of the cells that are measured like the first; where chance lies; and the ticks below."""
    alike = [cell for cell in cells if cell["metric"] == cells[0]["metric"]]
    numbers = [value for cell in alike for value in (*cell["values"], cell["published"], cell.get("chance"))]
    if all(number is None for number in numbers):
        return (), None, ()
    axis = enclosing(numbers)
    decimals = decimals_for([cell["mean"] for cell in alike])
    strips = tuple(
        Strip(
            cell["row"],
            tuple((axis.place(value), f"{value:g}") for value in cell["values"] if value is not None),
            axis.at(cell["mean"]),
            axis.at(cell["published"]),
            False,
            spread(cell["mean"], cell["std"], decimals),
            f"{cell['row']}: {'none' if cell['mean'] is None else format(cell['mean'], '.4g')}",
        )
        for cell in alike
    )
    chance = next((cell["chance"] for cell in alike if cell.get("chance") is not None), None)
    return strips, axis.at(chance), axis.ticks
