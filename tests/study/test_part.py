"""A part of a study: `rows` and `columns` of the configuration."""

import re
from typing import Any

import pytest
import yaml

from tessera.errors import StudyError
from tessera.study.config import Config
from tessera.study.plan import needed_by_studies
from tessera.tracking.prune import needed_by_chosen

FEW, ALL = "label_fraction 0.1", "label_fraction 1.0"
DELTA = {"delta": {"against": "equal", "label": "Δm"}, "compare": [{"row": "tte", "against": "equal"}]}


def test_columns_and_rows_are_chosen_by_their_labels(plan_of: Any) -> None:
    whole = plan_of()
    part = plan_of(columns=FEW)
    assert set(part.jobs) < set(whole.jobs)
    (summary,) = part.studies.values()
    assert summary.columns == (FEW,)
    assert summary.rows == ("equal", "tte", "target only")
    assert summary.part == f"column '{FEW}'"
    (both,) = plan_of(columns=[FEW], rows=["tte"]).studies.values()
    assert [(cell.row, cell.column) for cell in both.cells] == [("tte", FEW)]


def test_a_label_that_a_command_line_reads_as_a_number(plan_of: Any) -> None:
    numbers = [{"label": label, "target.label_fraction": share} for label, share in (("1000", 0.1), ("0.5", 0.5))]
    for given in (1000, [1000], "1000"):
        (summary,) = plan_of({"grid/columns": numbers}, columns=given).studies.values()
        assert summary.columns == ("1000",)
    (summary,) = plan_of({"grid/columns": numbers}, columns=[0.5, 1000]).studies.values()
    assert summary.columns == ("1000", "0.5")


def test_all_of_it_has_the_marker_that_it_had(plan_of: Any) -> None:
    (whole,) = plan_of().studies.values()
    (part,) = plan_of(columns=FEW).studies.values()
    assert "part" not in whole.model_dump(mode="json")
    assert whole.marker != part.marker


def test_a_question_between_rows_that_are_not_both_there_is_not_asked(plan_of: Any) -> None:
    (summary,) = plan_of(DELTA, rows=["tte"]).studies.values()
    assert summary.compare == ()
    (summary,) = plan_of(DELTA, columns=[FEW]).studies.values()
    assert [pair.row for pair in summary.compare] == ["tte"]


def test_a_question_about_a_column_that_is_not_there_is_not_asked(plan_of: Any) -> None:
    pair = {"row": "tte", "against": "equal"}
    asked = {**DELTA, "compare": [{**pair, "columns": [ALL]}, {**pair, "columns": ["Δm"]}, {**pair, "columns": [FEW]}]}
    (summary,) = plan_of(asked, columns=[FEW]).studies.values()
    assert [compared.columns for compared in summary.compare] == [(FEW,)]


def test_every_row_and_column_by_name_is_the_whole(plan_of: Any) -> None:
    (whole,) = plan_of().studies.values()
    (named,) = plan_of(columns=[ALL, FEW, FEW]).studies.values()
    assert named.marker == whole.marker


def test_extra_rows_alone_are_a_part_too(plan_of: Any) -> None:
    gone = {"label": "gone", "target.dataset": {"name": "image_folder", "path": "none", "image_size": 32}}
    columns = [{"label": "here", "target.dataset": "digits_m"}, gone]
    plan = plan_of({"grid/columns": columns, "base/target/dataset": None}, rows=["target only"])
    (summary,) = plan.studies.values()
    assert [(cell.row, cell.column) for cell in summary.cells] == [("target only", "here")]


@pytest.mark.parametrize("part", [{"columns": [FEW]}, {"rows": ["tte"]}])
def test_a_mean_over_columns_is_that_of_all_of_them_or_none(plan_of: Any, part: dict[str, list[str]]) -> None:
    (summary,) = plan_of(DELTA, **part).studies.values()
    assert summary.delta is None
    assert "without column 'Δm', since row 'equal' has nothing in" in summary.part
    assert summary.left_out == ()
    (summary,) = plan_of({**DELTA, "delta": {**DELTA["delta"], "columns": [FEW]}}, columns=[FEW]).studies.values()
    assert summary.delta is not None


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"columns": ["few"]}, "config/config.yaml (or --config): `columns`: study 'small' has no column 'few'."),
        (
            {"rows": ["tt"]},
            "`rows`: study 'small' has no row 'tt'. Did you mean 'tte'? Known: equal, target only, tte. They are of",
        ),
        ({"rows": []}, "`rows`"),
        ({"columns": ["only"], "rows": ["tte"]}, "has no cell in row 'tte', column 'only'"),
    ],
)
def test_what_a_study_lacks_is_told(plan_of: Any, part: dict[str, list[str]], message: str) -> None:
    own = {"label": "one", "column": "only", "target.label_fraction": 0.5}
    changes = {"also": [own]} if part.get("columns") == ["only"] else None
    with pytest.raises(StudyError, match=re.escape(message)):
        plan_of(changes, **part)


def test_a_column_that_is_not_run_now_is_not_thrown_away(plan_of: Any, project: Any) -> None:
    whole = plan_of()
    config = Config(studies=["small"], scale="smoke", columns=[FEW])
    needed, failed = needed_by_studies(config, project)
    assert not failed
    assert set(whole.jobs) <= needed
    assert set(whole.jobs) <= needed_by_chosen(plan_of(columns=[FEW])).folders


def test_other_studies_are_planned_whole(plan_of: Any, project: Any) -> None:
    plan_of(name="other")
    file = project / "config/studies/other.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "title": "Another"}))
    plan = plan_of(columns=[FEW])
    assert plan.others["other"].columns == (FEW, ALL)
