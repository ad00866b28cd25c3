"""The column of relative changes, from the figures of a study's cells to each of its result files."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest

from tessera.figures import Figure
from tessera.jobs import Cell, Comparison, DeltaColumn, SummarizeStudy
from tessera.report.summary import summarize
from tessera.report.tables.table import Table, read_table
from tessera.report.words.answers import answers

Tabled = Callable[..., SummarizeStudy]
ACCURACY, ERROR = Figure(name="accuracy"), Figure(name="mean_error", lower_is_better=True)


@pytest.fixture
def tabled(write: Any) -> Tabled:
    """A study of these figures, by row, column and trial, with Δm against the row `single`."""

    def make(columns: dict[str, Figure], rows: dict[str, list[list[float | None]]], **more: Any) -> SummarizeStudy:
        cells = []
        for row, of_columns in rows.items():
            for (column, figure), trials in zip(columns.items(), of_columns, strict=True):
                folders = tuple(
                    write(f"artifacts/target/{row}.{column}.t{trial}-{trial:08x}", {figure.name: value})
                    for trial, value in enumerate(trials)
                )
                cells.append(Cell(row=row, column=column, protocol="knn", figure=figure, artifacts=folders))
        others = tuple(row for row in rows if row != "single")
        delta = DeltaColumn(label="Δm", against="single", columns=tuple(columns), rows=others, **more)
        return SummarizeStudy(
            name="toy", title="T", description="", scale="paper", trials=len(cells[0].artifacts), rows=tuple(rows),
            columns=(*columns, "Δm"), cells=tuple(cells), delta=delta, compare=COMPARE if "b" in rows else (),
            artifacts=tuple(folder for cell in cells for folder in cell.artifacts),
        )  # fmt: skip

    return make


COMPARE = (Comparison(row="a", against="b", question="Is a better?", yes_if="better"),)


def changes(table: Table, row: str) -> tuple[float | None, ...]:
    found = table.at(row, "Δm")
    assert found is not None
    return found.values


@pytest.mark.parametrize(
    ("figures", "single", "vanilla", "printed"),
    [  # DGR, tables 1 to 3: UTKFace, NYUv2 and CityScapes, structure Split
        ([ACCURACY, ACCURACY, ACCURACY], [0.5233, 0.8964, 0.7728], [0.5391, 0.9153, 0.7948], 2.66),
        ([ERROR, ACCURACY, ERROR], [22.40, 43.37, 52.24], [24.19, 46.02, 41.36], 6.32),
        ([ACCURACY, ACCURACY, ERROR], [56.20, 52.74, 0.84], [56.29, 52.31, 0.75], 3.35),
    ],
)
def test_it_is_what_the_paper_prints(
    tabled: Tabled, tmp_path: Path, figures: list[Figure], single: list[float], vanilla: list[float], printed: float
) -> None:
    columns = {f"task {index}": figure for index, figure in enumerate(figures)}
    rows: dict[str, list[list[float | None]]] = {"single": [[x] for x in single], "vanilla": [[x] for x in vanilla]}
    table = read_table(tabled(columns, rows, published={"vanilla": printed}), tmp_path)
    assert changes(table, "vanilla") == (pytest.approx(printed, abs=0.005),)
    assert table.at("single", "Δm") is None


ROWS: dict[str, list[list[float | None]]] = {
    "single": [[40.0, 60.0], [2.0, 2.0]],  # means 50 and 2
    "a": [[60.0, 55.0], [1.0, 2.0]],
    "b": [[50.0, 45.0], [3.0, 2.0]],
}


def test_each_trial_is_set_against_the_mean_over_trials(tabled: Tabled, tmp_path: Path) -> None:
    study = tabled({"digit": ACCURACY, "depth": ERROR}, ROWS, published={"a": 20.0})
    text = summarize(study, tmp_path)
    results = tmp_path / "results" / "toy"
    spread = stdev([35.0, 5.0])
    assert f"| **20.0 ± {spread:.1f}** (paper 20, ±0.0) |" in text
    assert "| single | 50.0 ± 14.1 | 2.00 ± 0.00 | – |" in text
    assert "- **Δm**: Change relative to the mean of single over trials, mean over digit, depth, %" in text
    lines = list(csv.DictReader((results / "table.csv").read_text().splitlines()))
    assert [(line["row"], line["mean"], line["values"]) for line in lines if line["column"] == "Δm"] == [
        ("a", "20.0", "35.0 5.0"),
        ("b", "-15.0", "-25.0 -5.0"),
    ]
    told = json.loads((results / "table.json").read_text())
    cell = next(each for each in told["cells"] if (each["row"], each["column"]) == ("a", "Δm"))
    assert (cell["mean"], cell["unit"], cell["lower_is_better"], cell["difference"]) == (20.0, "%", False, 0.0)
    assert json.loads((results / "metrics.json").read_text())["b"]["Δm"] == -15.0
    assert r"& $\Delta$m \\" in (results / "table.tex").read_text()
    page = (results / "report.html").read_text()
    assert "Change relative to the mean of single over trials" in page
    assert 'href="#"' not in page
    assert "published figure" not in page  # of the measured cells none has one


def test_rows_are_compared_in_it_trial_by_trial(tabled: Tabled, tmp_path: Path) -> None:
    (answer,) = answers(read_table(tabled({"digit": ACCURACY, "depth": ERROR}, ROWS), tmp_path))
    line = next(line for line in answer.lines if line.column == "Δm")
    assert "a against b, +35.0 points (Δm" in line.text


def test_what_all_are_relative_to_is_compared_by_its_own_trials(tabled: Tabled, tmp_path: Path) -> None:
    pairs = (Comparison(row="a", against="single"), Comparison(row="single", against="b"))
    summary = tabled({"accuracy": ACCURACY, "error": ERROR}, ROWS).model_copy(update={"compare": pairs})
    table = read_table(summary, tmp_path)
    found = {(of.comparison.row, of.column): of.difference.values for of in table.comparisons}
    # By hand: single's own changes are -10 and 10 (40 and 60 against 50, its error stays), a's 35 and 5.
    assert found["a", "Δm"] == pytest.approx((45.0, -5.0))
    assert found["single", "Δm"] == pytest.approx((-10.0 - -25.0, 10.0 - -5.0))
    assert table.at("single", "Δm") is None
    assert "trials" in answers(table)[0].lines[0].text  # every line can be said


def test_a_comparison_may_be_of_some_columns(tabled: Tabled, tmp_path: Path) -> None:
    pairs = (Comparison(row="a", against="b", columns=("Δm",)), Comparison(row="b", against="a"))
    summary = tabled({"accuracy": ACCURACY, "error": ERROR}, ROWS).model_copy(update={"compare": pairs})
    found = [(of.comparison.row, of.column) for of in read_table(summary, tmp_path).outcomes]
    assert found == [("a", "Δm"), ("b", "accuracy"), ("b", "error"), ("b", "Δm")]


def test_a_trial_that_lacks_a_figure_has_none(tabled: Tabled, tmp_path: Path) -> None:
    rows = {**ROWS, "a": [[60.0, None], [1.0, 2.0]]}
    assert changes(read_table(tabled({"digit": ACCURACY, "depth": ERROR}, rows), tmp_path), "a") == (35.0, None)


def test_nothing_is_relative_to_zero(tabled: Tabled, tmp_path: Path) -> None:
    rows = {**ROWS, "single": [[1.0, -1.0], [2.0, 2.0]]}
    text = summarize(tabled({"digit": ACCURACY, "depth": ERROR}, rows), tmp_path)
    assert "No figure: single has 0 in digit, to which nothing is relative." in text
