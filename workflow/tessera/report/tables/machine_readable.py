"""The table for programs: table.json, table.csv and the flat metrics.json."""

import csv
import io
from collections.abc import Mapping
from typing import Any

from tessera.report.tables.along import as_points
from tessera.report.tables.filled import FilledCell
from tessera.report.tables.table import Compared, Table
from tessera.report.trials import Value, known
from tessera.report.words.answers import headline
from tessera.report.words.sentences import no_answer, sentence


def as_json(table: Table, made: str) -> dict[str, Any]:
    """What table.json holds. Numbers are rounded to six decimals, so that equal results are equal files.

    Args:
        made: When the last artifact was finished; empty where none says.
    """
    summary = table.summary
    return {
        "study": summary.name,
        "title": summary.title,
        "description": summary.description,
        "made": made,
        "headline": headline(table),
        "scale": summary.scale,
        "stand_ins": summary.stand_ins,
        **({"part": summary.part} if summary.part else {}),
        "left_out": list(summary.left_out),
        "trials": summary.trials,
        "rows": list(summary.rows),
        "columns": list(summary.columns),
        "cells": [_cell(figure) | _along(table, figure) for figure in _ordered(table)],
        "comparisons": [_comparison(compared, table) for compared in table.comparisons],
        "unanswered": [
            {
                "question": each.comparison.question,
                "row": each.comparison.row,
                "against": each.comparison.against,
                "column": each.column,
                "answer": no_answer(each),
            }
            for each in table.unanswered
        ],
        "cost": {
            "artifacts": table.cost.artifacts,
            "seconds": round(table.cost.seconds, 1),
            **({"extended_seconds": round(table.cost.extended, 1)} if table.cost.extended else {}),
            "hardware": list(table.cost.hardware),
        },
    }


def as_csv(table: Table) -> str:
    """One line a cell; `values` holds the trials in order, separated by spaces, `nan` where one has no figure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["row", "column", "protocol", "metric", "trials", "mean", "std", "published", "difference", "chance", "values"]
    )
    for figure in _ordered(table):
        cell, values = figure.cell, figure.values
        numbers = [figure.mean, figure.std, cell.published, figure.difference, figure.chance]
        shown = ["" if (kept := rounded(number)) is None else kept for number in numbers]
        listed = " ".join("nan" if value is None else str(rounded(value)) for value in values)
        writer.writerow([cell.row, cell.column, cell.protocol, cell.metric, len(known(values)), *shown, listed])
    return text.getvalue()


def as_metrics(table: Table, skipped: Mapping[str, int] | None = None) -> dict[str, dict[str, float]]:
    """Row, column, mean: what `dvc metrics` compares between commits.

    Args:
        skipped: What each dataset passed over, by its artifact's name; kept as one more row, `skipped`, with their
            `total` and each that is not 0. None, or of no dataset: no such row.
    """
    tree: dict[str, dict[str, float]] = {}
    for figure in _ordered(table):
        mean = rounded(figure.mean)
        if mean is not None:
            tree.setdefault(figure.cell.row, {})[figure.cell.column or figure.cell.metric] = mean
    if skipped:
        row = tree.setdefault("skipped", {})
        row["total"] = sum(skipped.values())
        for name, count in skipped.items():
            if count:
                word = name.rpartition("-")[0] or name  # without the key, so that commits can be compared
                row[word] = row.get(word, 0) + count
    return tree


def rounded(value: Value) -> Value:
    """Six decimals: more than any trial's noise, fewer than a processor's."""
    return None if value is None else round(value, 6)


def _ordered(table: Table) -> list[FilledCell]:
    found = (table.at(row, column) for row in table.summary.rows for column in table.summary.columns)
    return [figure for figure in found if figure is not None]


def _cell(figure: FilledCell) -> dict[str, Any]:
    cell = figure.cell
    return {
        "row": cell.row,
        "column": cell.column,
        "protocol": cell.protocol,
        "metric": cell.metric,
        "unit": cell.figure.unit,
        "lower_is_better": cell.figure.lower_is_better,
        "mean": rounded(figure.mean),
        "std": rounded(figure.std),
        "values": [rounded(value) for value in figure.values],
        "published": cell.published,
        "difference": rounded(figure.difference),
        "chance": rounded(figure.chance),
        "artifacts": list(cell.artifacts),
        "metrics": {name: rounded(value) for name, value in figure.metrics.items()},
    }


def _along(table: Table, figure: FilledCell) -> dict[str, Any]:
    """The points of a cell that is measured along its training; nothing of others."""
    place = figure.cell.row, figure.cell.column
    course = next((course for course in table.courses if (course.row, course.column) == place), None)
    return {"along": as_points(course)} if course is not None and course.points else {}


def _comparison(compared: Compared, table: Table) -> dict[str, Any]:
    gap = compared.difference
    return {
        "question": compared.comparison.question,
        "row": compared.comparison.row,
        "against": compared.comparison.against,
        "column": compared.column,
        "metric": compared.figure.name,
        "mean": rounded(gap.mean),
        "standard_error": rounded(gap.standard_error),
        "interval": None if gap.interval is None else [rounded(end) for end in gap.interval],
        "n": len(gap.values),
        "values": [rounded(value) for value in gap.values],
        "verdict": gap.verdict,
        "answer": sentence(compared, table),
    }
