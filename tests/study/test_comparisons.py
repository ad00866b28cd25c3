"""Comparisons of rows that a study names, and what of them is refused."""

import re
from typing import Any

import pytest

from tessera.errors import StudyError

COLUMNS = [{"label": "few", "target.label_fraction": 0.1}, {"label": "all"}]
SINGLE = {"label": "single task", "column": "few", "source.tasks": ["jigsaw"]}
STUDY = {"grid/columns": COLUMNS, "delta": {"against": "equal", "label": "Δm"}}


def compare(*columns: str, against: str = "equal") -> dict[str, Any]:
    return {"compare": [{"row": "tte", "against": against, "columns": list(columns)}]}


def test_they_name_columns_and_the_change_against_a_row(plan_of: Any) -> None:
    (summary,) = plan_of({**STUDY, **compare("all", "Δm")}).studies.values()
    assert [pair.columns for pair in summary.compare] == [("all", "Δm")]


def test_one_without_columns_keeps_the_marker_of_the_table(plan_of: Any) -> None:
    (summary,) = plan_of({"compare": [{"row": "tte", "against": "equal"}]}).studies.values()
    assert "columns" not in summary.model_dump(mode="json")["compare"][0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (compare("fewer"), "row 'tte' against 'equal': `columns`: no column is named 'fewer'. Did you mean 'few'"),
        (compare("few", "few"), "row 'tte' against 'equal': `columns`: 'few' is named twice: leave one out"),
        (compare(), "`compare[0].columns`"),
        ({**compare("Δn")}, "no column is named 'Δn'. Known: all, few, Δm"),
        (
            {"also": [SINGLE], **compare("all", against="single task")},
            "row 'tte' against 'single task': `columns`: row 'single task' has no cell in 'all': leave it out",
        ),
    ],
)
def test_they_are_refused_before_any_job(plan_of: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=re.escape(message)) as error:
        plan_of({**STUDY, **changes})
    assert "\n" not in str(error.value)
