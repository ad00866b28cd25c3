"""What a study says over its base at one scale: the budget of its own paper, a smaller encoder."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tessera.errors import StudyError
from tessera.study.plan import Plan

PlanOf = Callable[..., Plan]

PAPER = {"source": {"epochs": 200, "optimizer": {"schedule": "cosine"}}, "source.encoder": "resnet26"}


def sources(plan: Plan) -> list[dict[str, Any]]:
    return [job.settings["source"] for job in plan.jobs.values() if job.stage == "pretrain_source"]


def test_it_lies_over_the_base_at_its_scale_alone(plan_of: PlanOf) -> None:
    changes = {"base/source/optimizer": {"learning_rate": 0.5}, "at_scale": {"paper": PAPER, "reduced": {}}}
    paper, smoke = sources(plan_of(changes, scale="paper")), sources(plan_of(changes))
    assert {(s["epochs"], s["encoder"]["name"]) for s in paper} == {(200, "resnet26")}
    assert {(s["epochs"], s["encoder"]["name"]) for s in smoke} == {(2, "resnet8")}
    optimizers = [s["optimizer"] for s in paper]
    assert all((o["learning_rate"], o["schedule"]) == (0.5, "cosine") for o in optimizers), "mappings merge"
    assert all(o["momentum"] == 0.9 for o in optimizers), "the scale lies beneath"


def test_a_row_and_its_method_lie_over_it(plan_of: PlanOf) -> None:
    at_smoke = {"source.epochs": 5, "source.fusion": "average", "source.encoder": "resnet26"}
    found = sources(plan_of({"at_scale": {"smoke": at_smoke}, "grid/rows": {"source.method": ["equal"]}}))
    assert {(s["epochs"], s["fusion"]["name"], s["encoder"]["name"]) for s in found} == {(5, "none", "resnet26")}
    row = [{"label": "small", "source.encoder": "resnet8"}]
    found = sources(plan_of({"at_scale": {"smoke": at_smoke}, "grid/rows": row, "also": None}))
    assert {s["encoder"]["name"] for s in found} == {"resnet8"}


def test_a_study_that_says_nothing_keeps_its_keys(plan_of: PlanOf) -> None:
    assert set(plan_of().jobs) == set(plan_of({"at_scale": {"paper": PAPER}}).jobs)


@pytest.mark.parametrize(
    ("at_scale", "message"),
    [
        ({"papr": PAPER}, "at_scale.papr: unknown scale 'papr'. Did you mean 'paper'"),
        ({"paper": {"source.epoch": 3}}, "`source.epoch`: unknown key. Did you mean 'epochs'"),
        ({"paper": {"source.encoder": "resnet27"}}, "`source.encoder`: Unknown encoder 'resnet27'"),
        ({"paper": {"source.epochs": 3, "source": {"epochs": 4}}}, "at_scale.paper: `source.epochs` is set twice"),
        ({"paper": {"source": 3}}, "at_scale.paper: `source`: should hold settings, but is 3"),
        ({"paper": 3}, "`at_scale.paper`"),
        ({"smoke": {"source.epochs": -1}}, "`source.epochs`: should be greater than or equal to 0, but is -1"),
    ],
)
def test_what_is_wrong_is_told_at_whatever_scale_it_stands(
    plan_of: PlanOf, at_scale: dict[str, Any], message: str
) -> None:
    with pytest.raises(StudyError, match=re.escape(message)) as error:
        plan_of({"at_scale": at_scale})
    assert "\n" not in str(error.value)
