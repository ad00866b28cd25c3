"""`tessera diff`."""

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from tessera.commands.options import chosen, say
from tessera.errors import ArtifactError, StudyError
from tessera.explain.facts import Change, Lineage, changes
from tessera.explain.recipe import Shelf
from tessera.explain.subjects import RowOf, Subjects
from tessera.explain.words import change_lines, wrapped
from tessera.jobs import Cell
from tessera.monitor.words import shortened
from tessera.report.records import figures
from tessera.study.plan import Plan

HELP = "what two rows of a study, or two artifacts, differ in: settings, then figures"
_FIGURES = 12
Value = float | None


def add_options(command: argparse.ArgumentParser) -> None:
    """Which two, and where rows are looked for."""
    command.add_argument("first", help="a row's label, or an artifact: its folder, its name or a part of it")
    command.add_argument("second", help="the one that it is compared with")
    command.add_argument("--study", action="append", help="where the rows stand, if several studies have them")
    command.add_argument("--all", action="store_true", help=f"every figure, not the first {_FIGURES} of a column")


def run(plan: Plan, options: argparse.Namespace) -> int:
    """Says what two rows of a study, or two artifacts, differ in: settings first (first → second), back to what they
    are made from; then figures, as far as they are made. Starts nothing."""
    shelf = Shelf(plan)
    studies = chosen(plan, options.study) if options.study else None
    subjects = Subjects(plan, shelf, studies)
    words = options.first, options.second
    rows = [subjects.rows(word) for word in words]
    if all(rows):
        say("\n".join(_rows(Lineage(shelf), *_of_one_study(words, rows), options.all)))
        return 0
    if any(rows):
        row, other = words if rows[0] else words[::-1]
        if subjects.job(other) is None:
            raise subjects.unknown(other)
        raise StudyError(f"'{row}' is a row, but '{other}' is a job: give two rows, or two artifacts.")
    first, second = (_folder(subjects, word) for word in words)
    say("\n".join(_artifacts(Lineage(shelf), first, second, options.all)))
    return 0


def _folder(subjects: Subjects, word: str) -> str:
    folder = subjects.job(word)
    if folder is None:
        raise subjects.unknown(word)
    return folder


def _of_one_study(words: tuple[str, str], rows: Sequence[Sequence[RowOf]]) -> tuple[RowOf, RowOf]:
    pairs = [(a, b) for a in rows[0] for b in rows[1] if a.study.name == b.study.name]
    if len(pairs) == 1:
        return pairs[0]
    places = [sorted({row.study.name for row in found}) for found in rows]
    if not pairs:
        raise StudyError(
            f"no study has both rows: '{words[0]}' stands in {', '.join(places[0])}, '{words[1]}' in "
            f"{', '.join(places[1])}."
        )
    shared = ", ".join(a.study.name for a, _ in pairs)
    raise StudyError(f"several studies have both rows ({shared}): say which with --study {pairs[0][0].study.name}")


def _rows(lineage: Lineage, first: RowOf, second: RowOf, every: bool) -> list[str]:
    study = first.study
    cells = {(cell.row, cell.column): cell for cell in study.cells}
    pairs = {
        column: (cells[first.label, column], cells[second.label, column])
        for column in study.columns
        if (first.label, column) in cells and (second.label, column) in cells
    }
    lines = [*wrapped(f"{study.name}: '{first.label}' → '{second.label}'", hanging=2)]
    for row, other in ((first, second), (second, first)):
        alone = [c for c in study.columns if (row.label, c) in cells and (other.label, c) not in cells]
        if alone:
            lines += wrapped(f"only '{row.label}' has a cell in: {', '.join(alone)}", 2, 2)
    if not pairs:
        raise StudyError(
            f"study {study.name}: the rows '{first.label}' and '{second.label}' share no column: compare two of their "
            "artifacts (`tessera plan --jobs` lists them)."
        )
    lines += ["", *_settings(lineage, pairs), "", "Figures"]
    for column, (one, two) in pairs.items():
        lines += _figures(lineage.shelf.root, column, one, two, every)
    return lines


def _settings(lineage: Lineage, pairs: Mapping[str, tuple[Cell, Cell]]) -> list[str]:
    """What differs in every column, once; then what differs in some."""
    found = {
        column: changes(lineage.of(one.artifacts[0]), lineage.of(two.artifacts[0]))
        for column, (one, two) in pairs.items()
    }
    shared = [change for change in next(iter(found.values())) if all(change in other for other in found.values())]
    if not any(found.values()):
        return ["Settings: none differ"]
    lines = ["Settings", *change_lines(shared)]
    by_rest: dict[tuple[Change, ...], list[str]] = {}
    for column, every in found.items():
        if rest := tuple(change for change in every if change not in shared):
            by_rest.setdefault(rest, []).append(column)
    for rest, columns in by_rest.items():
        lines += [*wrapped(f"in {', '.join(columns)}:", 2, 2), *change_lines(rest)]
    return lines


def _figures(root: Path, column: str, one: Cell, two: Cell, every: bool) -> list[str]:
    read = [[_read(root / folder) for folder in cell.artifacts] for cell in (one, two)]
    lines = [f"  {column}"] if column else []
    for cell, trials in zip((one, two), read, strict=True):
        if not any(trials):
            return [*lines, *wrapped(f"'{cell.row}' is not made yet: `tessera why '{cell.row}'`", 4, 2)]
    names = list(dict.fromkeys((one.metric, two.metric, *(name for side in read for trial in side for name in trial))))
    rows = []
    for name in names:
        sides = [[trial.get(name) for trial in trials] for trials in read]
        if sides[0] != sides[1]:
            both = [(a, b) for a, b in zip(*sides, strict=False) if a is not None and b is not None]
            gap = fmean(b - a for a, b in both) if both else None
            rows.append((name, _spread(sides[0]), _spread(sides[1]), gap))
    return lines + (_table(rows, every) or ["    none differ"])


def _artifacts(lineage: Lineage, first: str, second: str, every: bool) -> list[str]:
    lines = [*wrapped(first, 0, 2), *wrapped(f"→ {second}", 0, 2)]
    recipes = [lineage.shelf.recipe(folder) for folder in (first, second)]
    if recipes[0] is not None and recipes[1] is not None and recipes[0].stage != recipes[1].stage:
        lines += wrapped(f"(of two stages: {recipes[0].stage}, {recipes[1].stage})")
    found = changes(lineage.of(first), lineage.of(second))
    lines += ["", *(["Settings", *change_lines(found)] if found else ["Settings: none differ"]), ""]
    root = lineage.shelf.root
    missing = [folder for folder in (first, second) if not (root / folder / "artifact.json").exists()]
    if missing:
        name = shortened(missing[0].rpartition("/")[2], 60)
        return [*lines, *wrapped(f"Figures: {name} is not made yet", hanging=2)]
    sides = [_read(root / folder) for folder in (first, second)]
    rows = [
        (
            name,
            _spread([sides[0].get(name)]),
            _spread([sides[1].get(name)]),
            _gap(sides[0].get(name), sides[1].get(name)),
        )
        for name in dict.fromkeys((*sides[0], *sides[1]))
        if sides[0].get(name) != sides[1].get(name)
    ]
    if not any(sides):
        return [*lines, "Figures: neither has any"]
    return [*lines, *(["Figures", *_table(rows, every)] if rows else ["Figures: none differ"])]


def _read(folder: Path) -> dict[str, Value]:
    """Figures of an artifact: its metrics, else the last line of its history; none where it has neither."""
    try:
        if (folder / "metrics.json").exists():
            return figures(folder)
        with (folder / "history.csv").open(newline="") as file:
            last = list(csv.DictReader(file))[-1]
    except (OSError, ArtifactError, IndexError):
        return {}
    found: dict[str, Value] = {}
    for name, text in last.items():
        try:
            found[name] = float(text)
        except (TypeError, ValueError):
            continue
    return found


def _gap(first: Value, second: Value) -> Value:
    return None if first is None or second is None else second - first


def _spread(values: Sequence[Value]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    return f"{fmean(known):.4g}" + (f" ± {stdev(known):.2g}" if len(known) > 1 else "")


def _table(rows: Sequence[tuple[str, str, str, Value]], every: bool) -> list[str]:
    shown = rows if every else rows[:_FIGURES]
    name = min(34, max((len(row[0]) for row in shown), default=0))
    first, second = (
        max((len(side) for side in sides), default=0) for sides in ([r[1] for r in shown], [r[2] for r in shown])
    )
    lines = []
    for row in shown:
        gap = "" if row[3] is None else f"  ({row[3]:+.3g})".replace("-", "−")
        lines.append(f"    {shortened(row[0], name):{name}}  {row[1]:>{first}} → {row[2]:>{second}}{gap}")
    if len(rows) > len(shown):
        lines.append(f"    … and {len(rows) - len(shown)} more figures (--all)")
    return lines
