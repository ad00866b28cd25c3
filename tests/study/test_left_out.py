"""Cells whose images are missing: left out and named, or refused where the configuration is strict."""

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tessera.errors import StudyError
from tessera.study.left_out import LeftOut, group
from tessera.study.plan import Plan, make_plan

PlanOf = Callable[..., Plan]
HERE: dict[str, Any] = {"name": "digits_m"}
ABSENT: dict[str, Any] = {"name": "image_folder", "path": "faces.tar", "image_size": 32}
ROWS = {"grid/rows": {"source.dataset": [HERE, ABSENT]}, "grid/columns": {"target.label_fraction": [0.1, 1.0]}}


def test_rows_without_images_are_left_out_and_the_rest_is_planned(plan_of: PlanOf) -> None:
    plan = plan_of(ROWS)
    summary = plan.studies["small"]
    assert summary.rows == ("digits_m", "target only")
    assert not any("faces" in folder for folder in plan.jobs)
    (note,) = plan.notes()
    assert note.startswith("small: row 'image_folder image_size=32 path=faces.tar': dataset `image_folder`: no ")
    assert "faces.tar" in note
    assert "TESSERA_DATA" in note
    assert summary.left_out == ("row 'image_folder image_size=32 path=faces.tar'",)


def test_what_is_left_out_comes_back_with_its_images_and_changes_no_other_key(plan_of: PlanOf, project: Path) -> None:
    before = plan_of(ROWS)
    (project / "data").mkdir()
    tarfile.open(project / "data/faces.tar", "w").close()
    after = plan_of(ROWS)
    assert after.left_out == {}
    assert set(before.jobs) < set(after.jobs)
    assert set(after.jobs) - set(before.jobs) <= before.spared, "artifacts of absent images are not thrown away"
    assert before.studies["small"].marker != after.studies["small"].marker


def test_strict_refuses(plan_of: PlanOf) -> None:
    with pytest.raises(StudyError, match=r"small: row .*faces\.tar(.|\n)*`strict` is set"):
        plan_of(ROWS, strict=True)
    assert plan_of(strict=True).left_out == {}


def test_a_process_that_is_told_all_is_checked_plans_the_same_and_refuses_nothing(
    plan_of: PlanOf, project: Path
) -> None:
    plan_of(ROWS, name="partial")
    plan_of(name="whole")
    config = {"studies": ["whole", "partial"], "scale": "smoke", "strict": True}
    asked = make_plan(config, project, asked=["whole"])
    assert make_plan(config, project, checked=True).jobs.keys() == asked.jobs.keys()


def test_strict_is_about_what_was_asked_for(plan_of: PlanOf, project: Path) -> None:
    plan_of(ROWS, name="partial")
    plan_of(name="whole")
    config = {"studies": ["partial"], "scale": "smoke", "strict": True}
    assert set(make_plan(config, project, asked=["whole"]).others) == {"whole"}
    with pytest.raises(StudyError, match=r"partial: row (.|\n)*`strict` is set"):
        make_plan(config, project, asked=["partial"])
    with pytest.raises(StudyError, match="`strict` is set"):
        make_plan(config, project)


def test_what_was_asked_for_runs_though_the_chosen_have_no_images(plan_of: PlanOf, project: Path) -> None:
    plan_of(name="whole")
    with pytest.raises(StudyError):
        plan_of({"base/source/dataset": ABSENT})
    config = {"studies": ["small"], "scale": "smoke"}
    assert set(make_plan(config, project, asked=["whole"]).others) == {"whole"}
    with pytest.raises(StudyError, match=r"faces\.tar"):
        make_plan(config, project)


def test_baselines_alone_make_no_table(plan_of: PlanOf) -> None:
    with pytest.raises(StudyError, match=r"^small: everything: dataset `image_folder`.*faces\.tar"):
        plan_of({"base/source/dataset": ABSENT})


def test_all_that_is_missing_is_told_once_each(plan_of: PlanOf, project: Path) -> None:
    other = {**ABSENT, "path": "scenes.tar"}
    with pytest.raises(StudyError):
        plan_of({**ROWS, "grid/rows": {"source.dataset": [ABSENT, other]}}, name="absent")
    with pytest.raises(StudyError):
        plan_of({"base/source/dataset": other}, name="barren")
    plan_of()
    plan = make_plan({"studies": ["absent", "barren", "small"], "scale": "smoke"}, project)
    faces, scenes, baseline = plan.notes()
    assert faces.startswith("absent: row 'image_folder image_size=32 path=faces.tar': dataset `image_folder`: no ")
    assert scenes.startswith(
        "absent: row 'image_folder image_size=32 path=scenes.tar'; barren: everything: dataset `image_folder`: no "
    )
    assert baseline == "absent: row 'target only': nothing is left to compare with"


def test_baselines_of_absent_images_are_not_thrown_away(plan_of: PlanOf, project: Path) -> None:
    with pytest.raises(StudyError):
        plan_of({"base/source/dataset": ABSENT}, name="absent")
    plan_of({"trials": 1})
    plan = make_plan({"studies": ["absent", "small"], "scale": "smoke"}, project)
    assert any("none.t1" in folder for folder in plan.spared - set(plan.jobs))


def test_a_chosen_study_without_images_stops_no_other(plan_of: PlanOf, project: Path) -> None:
    with pytest.raises(StudyError):
        plan_of({"base/target/dataset": ABSENT}, name="absent")
    plan_of()
    plan = make_plan({"studies": ["absent", "small"], "scale": "smoke"}, project)
    assert set(plan.studies) == {"small"}
    assert "faces.tar" in plan.failed["absent"]
    assert [note.partition(":")[0] for note in plan.notes()] == ["absent"]


def test_a_scale_can_leave_a_dataset_out(plan_of: PlanOf, project: Path) -> None:
    scale = project / "config/scales/smoke.yaml"
    scale.write_text(scale.read_text() + "stand_ins: {dataset: {stl10: null}, encoder: {resnet26: resnet8}}\n")
    plan = plan_of({"base/source/encoder": "resnet26", "grid/columns": {"target.dataset": ["digits_m", "stl10"]}})
    assert plan.studies["small"].columns == ("digits_m",)
    assert plan.studies["small"].stand_ins == {"resnet26": "resnet8"}
    assert plan.notes() == ["small: column 'stl10': scale `smoke` has no stand-in for dataset `stl10`"]


def test_cells_are_named_by_columns_rows_or_number() -> None:
    every = [(row, column) for row in "abcd" for column in "xy"]
    left = [(("a", "x"), "one"), (("a", "y"), "one"), (("b", "x"), "one"), (("b", "y"), "one"), (("c", "x"), "two")]
    assert group(left, every) == (LeftOut("2 of 4 rows ('a', 'b')", "one"), LeftOut("1 of 8 cells", "two"))


def test_what_is_said_of_what_is_missing_stands_in_the_study_s_order(plan_of: PlanOf) -> None:
    """Its key covers what it says: two processes are to say the same."""
    rows = [{"label": "here", "source.dataset": HERE}, {"label": "absent", "source.dataset": ABSENT}]
    columns = {"target.label_fraction": [number / 20 for number in range(1, 11)]}
    edit = {"grid/rows": rows, "grid/columns": columns, "also": [], "delta": {"against": "absent"}}
    assert "since row 'absent' has nothing in 'label_fraction 0.05'" in str(plan_of(edit).studies["small"].left_out)
