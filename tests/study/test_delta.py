"""A column of relative changes, and rows that are written column by column: what is planned, and what is refused."""

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tessera.errors import StudyError

SINGLE = [
    {"label": "single task", "column": "few", "source.tasks": ["jigsaw"], "source.method": "equal"},
    {"label": "single task", "column": "all", "source.tasks": ["colorization"], "source.method": "equal"},
]
COLUMNS = [{"label": "few", "target.label_fraction": 0.1}, {"label": "all", "target.label_fraction": 1.0}]
STUDY = {"grid/columns": COLUMNS, "also": SINGLE, "delta": {"against": "single task"}}


def test_a_row_of_one_network_a_column(plan_of: Any) -> None:
    study = plan_of({"grid/columns": COLUMNS, "also": SINGLE, "compare": [{"row": "tte", "against": "single task"}]})
    (summary,) = study.studies.values()
    assert summary.rows == ("equal", "tte", "single task")
    assert summary.columns == ("few", "all")
    cells = {cell.column: cell for cell in summary.cells if cell.row == "single task"}
    assert list(cells) == ["few", "all"]
    tasks = {}
    for column, cell in cells.items():
        below = [cell.artifacts[0]]
        for folder in below:
            below += study.jobs[folder].inputs.values()
        (source,) = (study.jobs[folder] for folder in below if study.jobs[folder].stage == "pretrain_source")
        tasks[column] = [task["name"] for task in source.settings["source"]["tasks"]]
    assert tasks == {"few": ["jigsaw"], "all": ["colorization"]}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([SINGLE[0], {**SINGLE[1], "column": None}], "two rows are named 'single task': name the `column` of each"),
        ([SINGLE[0], {**SINGLE[1], "column": "few"}], "two rows named 'single task' name `column: few`"),
        ([{**row, "label": "tte"} for row in SINGLE], "two rows are named 'tte'"),
        ([SINGLE[0], {**SINGLE[1], "column": "al"}], "`column: al`"),
    ],
)
def test_twin_rows_are_refused(plan_of: Any, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(StudyError, match=re.escape(message)) as error:
        plan_of({"grid/columns": COLUMNS, "also": rows})
    assert "\n" not in str(error.value)


def test_a_column_of_relative_changes(plan_of: Any, project: Path) -> None:
    (project / "config" / "studies" / "paper.csv").write_text("row,column,value\ntte,Δm,2.66\nequal,all,60\n")
    (summary,) = plan_of({**STUDY, "published": "paper.csv"}).studies.values()
    delta = summary.delta
    assert summary.columns == ("few", "all", "Δm")
    assert (delta.against, delta.columns, delta.rows) == ("single task", ("few", "all"), ("equal", "tte"))
    assert delta.published == {"tte": 2.66}
    (other,) = plan_of({**STUDY, "delta": {"against": "tte", "columns": ["all"], "label": "gain"}}).studies.values()
    assert (other.columns[-1], other.delta.columns, other.delta.rows) == ("gain", ("all",), ("equal", "single task"))


def test_a_study_without_it_keeps_its_marker(plan_of: Any) -> None:
    (summary,) = plan_of().studies.values()
    content = summary.model_dump(mode="json", exclude={"run"})
    assert "delta" not in content
    content["cells"] = [{**cell, "metric": cell["figure"]["name"]} for cell in content["cells"]]
    for cell in content["cells"]:
        del cell["figure"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert summary.key == sha256(text.encode()).hexdigest()[:8]  # what a figure is called makes it, as ever


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"delta": {"against": "single tsk"}}, "`delta.against`: no row is named 'single tsk'. Did you mean 'single"),
        ({"delta": {"against": "tte", "columns": ["fewer"]}}, "`delta.columns`: no column is named 'fewer'. Did"),
        ({"delta": {"against": "tte", "columns": ["few", "few"]}}, "`delta.columns`: 'few' is named twice"),
        ({"delta": {"against": "tte", "columns": []}}, "`delta.columns`"),
        ({"delta": {"against": "tte", "label": "few"}}, "`delta.label`: a column is named 'few' already"),
        (
            {"also": SINGLE[:1], "delta": {"against": "single task", "columns": ["all"]}},
            "`delta.columns`: row 'single task' has no cell in 'all': leave it out",
        ),
        (
            {"also": [{**SINGLE[0], "label": "a"}, SINGLE[1]], "grid/rows": {"source.method": ["tte"]},
             "delta": {"against": "tte"}},
            "`delta`: no row beside 'tte' has a cell in each of 'few', 'all'",
        ),
        (
            {"also": [{**SINGLE[0], "target.protocol": "knn", "transfer.method": "none"}]},
            "`delta`: in column 'few' row 'equal' is measured by `classification`, figure `accuracy`, but 'single "
            "task' by `knn`, figure `accuracy`: measure both alike",
        ),
    ],
)  # fmt: skip
def test_it_is_refused_before_any_job(plan_of: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=re.escape(message)) as error:
        plan_of({**STUDY, **changes})
    assert "\n" not in str(error.value)


def test_published_changes_need_their_column(plan_of: Any, project: Path) -> None:
    (project / "config" / "studies" / "paper.csv").write_text("row,column,value\ntte,Δm,2.66\n")
    with pytest.raises(StudyError, match="no column 'Δm'"):
        plan_of({"grid/columns": COLUMNS, "published": "paper.csv"})
