# ruff: noqa: E501 - a case a line
"""What a study says is looked at wherever it stands: beneath other settings, in two spellings, beside no column."""

from collections.abc import Callable
from typing import Any

import pytest

from tessera.errors import StudyError
from tessera.study.plan import Plan
from tessera.study.settings import answers, nested

PlanOf = Callable[..., Plan]

BASE = r"config/studies/small\.yaml: "

OVERRIDDEN: list[tuple[dict[str, Any], str]] = [
    ({"base/source/method": "ttte"}, r"`source\.method`: Unknown method 'ttte'\. Did you mean 'tte'\?"),
    ({"base/source/method": 3}, r"`source\.method`: should name a method, but is 3"),
    ({"base/source/tasks": ["jigsw"], "grid/rows": {"source.tasks": [["jigsaw"]]}}, r"`source\.tasks\[0\]`: Unknown task 'jigsw'"),
    ({"base/source/schedule": "joinnt"}, r"`source\.schedule`: Unknown schedule 'joinnt'"),
    ({"base/source/fusion": {"windw": 3}, "grid/rows": {"source.method": ["equal"]}}, r"`source\.fusion\.windw`: unknown key\. Did you mean 'window'\?"),
    ({"base/source/fusion": {"window": 0}, "grid/rows": {"source.method": ["equal"]}}, r"`source\.fusion\.window`: should be greater than or equal to 1, but is 0"),
    ({"base/transfer": {"method": "fsp", "wieght": 2}, "grid/rows": {"transfer.method": ["none", "cetl"]}}, r"`transfer\.wieght`: unknown key\. Did you mean 'weight'\?"),
    ({"base/transfer": {"method": "fsp", "weight": "much"}, "grid/rows": {"transfer.method": ["none", "cetl"]}}, r"`transfer\.weight`: .*'much'"),
    ({"base/source/optimizer": {"schedule": "stepps"}, "grid/rows": {"source.optimizer.schedule": ["cosine"]}}, r"`source\.optimizer\.schedule`: should be .*'stepps'"),
    ({"base/target/epochs": "one", "grid/rows": {"target.epochs": [1]}}, r"`target\.epochs`: .*'one'"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), OVERRIDDEN, ids=[message[:30] for _, message in OVERRIDDEN])
def test_a_wrong_value_is_wrong_where_every_row_sets_another(
    plan_of: PlanOf, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(StudyError, match=BASE + message) as caught:
        plan_of({"also": None, **changes})
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "changes",
    [
        # Options of a part that the rows name.
        {"base/transfer": {"weight": 2.0}, "grid/rows": {"transfer.method": ["fsp"]}},
        # Of one that the preset of a row names, under a base whose own preset has another.
        {"base/source/method": "equal", "base/source/fusion": {"window": 2}, "grid/rows": {"source.method": ["tte"]}},
        # Values that go together only in a row.
        {"base/source/optimizer": {"nesterov": True, "momentum": 0}, "grid/rows": {"source.optimizer.momentum": [0.5]}},
        {"base/source/schedule": "joint", "grid/rows": {"source.schedule": ["branches"]}},
        # What only the columns complete.
        {"base/source/dataset": None, "grid/columns": {"source.dataset": ["digits_m"]}},
    ],
)
def test_what_a_row_completes_is_no_mistake_of_the_base(plan_of: PlanOf, changes: dict[str, Any]) -> None:
    assert plan_of({"also": None, **changes}).jobs


def test_options_of_a_part_from_outside_that_a_row_names_are_its_own(
    plan_of: PlanOf, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside_fusion.py").write_text(
        "from tessera.multitask.fusion.options import FusionOptions\n"
        "class Fusion:\n"
        "    class Options(FusionOptions):\n"
        "        sweetness: int = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    rows = {"source.fusion.name": ["outside_fusion:Fusion"], "source.method": ["equal"]}
    study = {"also": None, "base/source/fusion": {"sweetness": 2}, "grid/rows": rows}
    assert plan_of(study).jobs
    with pytest.raises(StudyError, match=r"`source\.fusion\.sweetnes`: unknown key\. Did you mean 'sweetness'\?"):
        plan_of({**study, "base/source/fusion": {"sweetnes": 2}})


TWICE: list[tuple[dict[str, Any], str]] = [
    ({"base/source.dataset+target.dataset": "digits_m"}, r"base: `source\.dataset` is set twice, by `source: \{dataset: …\}` and by `source\.dataset\+target\.dataset`: keep one|base: `source\.dataset` is set twice, by `source\.dataset\+target\.dataset` and by `source: \{dataset: …\}`"),
    ({"base/source.optimizer.momentum": 0.5, "base/source/optimizer": {"momentum": 0.5}}, r"base: `source\.optimizer\.momentum` is set twice"),
    ({"base/transfer.method": "none"}, r"base: `transfer` is set twice, by `transfer` and by `transfer\.method`"),
    ({"base/source.optimizer.momentum": 0.5, "base/source/optimizer": 3}, r"base: `source\.optimizer` is set twice"),
    ({"grid/rows": [{"label": "x", "source.method": "tte", "source": {"method": "equal"}}]}, r"\(row 'x'\): `source\.method` is set twice, by `source\.method` and by `source: \{method: …\}`|\(row 'x'\): `source\.method` is set twice, by `source: \{method: …\}` and by `source\.method`"),
    ({"grid/columns": [{"label": "x", "target.network": "reduced_alexnet", "target.network.name": "reduced_alexnet"}]}, r"\(column 'x'\): `target\.network` is set twice, by `target\.network` and by `target\.network\.name`"),
    ({"also": [{"label": "x", "target.epochs+target.epochs": 1}]}, r"\(row 'x'\): `target\.epochs` is set twice"),
    ({"grid/rows": [{"label": "x", "target": {"label_fraction": 0.2}}]}, r"both rows and columns set `target\.label_fraction`"),
    ({"also": [{"label": "x", "target": {"label_fraction": 0.2}}]}, r"row 'x' sets `target\.label_fraction` by `target: \{label_fraction: …\}`, but the columns by `target\.label_fraction`"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), TWICE, ids=[message[:30] for _, message in TWICE])
def test_two_answers_to_one_key_are_refused(plan_of: PlanOf, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        plan_of(changes)
    assert len(str(caught.value).splitlines()) == 1


def test_keys_that_complete_each_other_are_two_questions() -> None:
    settings = {
        "source.fusion.window": 3,
        "source": {"method": "tte", "fusion": "tte"},
        "target": {},
        "target.epochs": 1,
    }
    assert set(answers(settings, "here")) == {
        ("source", "fusion", "window"),
        ("source", "method"),
        ("source", "fusion", "name"),
        ("target", "epochs"),
    }
    fusion = {"name": "tte", "window": 3}
    assert nested(settings, "here") == {"source": {"method": "tte", "fusion": fusion}, "target": {"epochs": 1}}


def test_an_extra_row_may_leave_a_column_of_two_keys_one_of_them(plan_of: PlanOf) -> None:
    columns = {"source.dataset+target.dataset": ["digits_m"]}
    also = [{"label": "other source", "source.dataset": {"name": "digits_m", "copies": 2}}]
    plan = plan_of({"base/source/dataset": None, "base/target/dataset": None, "grid/columns": columns, "also": also})
    assert {cell.column for cell in plan.studies["small"].cells} == {"digits_m"}


def test_a_row_names_its_column_where_the_grid_has_none(plan_of: PlanOf) -> None:
    also = [
        {"label": "probe", "column": "frozen", "target.protocol": "linear_probe"},
        {"label": "target only", "transfer.method": "none"},
    ]
    cells = plan_of({"grid/columns": None, "also": also}).studies["small"].cells
    places = {cell.row: cell.column for cell in cells}
    assert places == {
        "equal": "classification",
        "tte": "classification",
        "probe": "frozen",
        "target only": "classification",
    }


@pytest.mark.parametrize(
    "row",
    [
        {"label": "x", "column": "mine", "transfer.method": "none"},  # sets no key of a column
        {"label": "x", "column": "mine", "target.label_fraction": 0.1},  # the value of a column that is there
    ],
)
def test_a_column_that_a_row_names_but_does_not_stand_in_is_refused(plan_of: PlanOf, row: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=r"row 'x' names `column: mine`, but its settings put it into 'label_fraction"):
        plan_of({"also": [row]})


def test_a_column_without_a_row_is_refused(plan_of: PlanOf) -> None:
    also = [{"label": "x", "column": "few", "target.label_fraction": 0.3}]
    with pytest.raises(StudyError, match=r"`grid\.columns`: no row stands in 'label_fraction 0\.1'"):
        plan_of({"grid/rows": None, "also": also})
