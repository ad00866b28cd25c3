"""What a study changes of a scale: the budget of its own paper, options of parts, other stand-ins."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tessera.errors import StudyError
from tessera.study.plan import Plan
from tessera.study.resolve import _described

PlanOf = Callable[..., Plan]

PAPER = {"source": {"epochs": 200, "optimizer": {"schedule": "cosine", "learning_rate": 0.2}}}


def sources(plan: Plan) -> list[dict[str, Any]]:
    return [job.settings["source"] for job in plan.jobs.values() if job.stage == "pretrain_source"]


def test_it_lies_over_the_scale_and_beneath_the_base(plan_of: PlanOf) -> None:
    changes = {"base/source/optimizer": {"learning_rate": 0.5}, "at_scale": {"paper": PAPER, "reduced": {}}}
    for source in sources(plan_of(changes, scale="paper")):
        assert source["epochs"] == 200
        optimizer = source["optimizer"]
        assert (optimizer["schedule"], optimizer["learning_rate"], optimizer["clip_norm"]) == ("cosine", 0.5, 5.0)
    assert {source["epochs"] for source in sources(plan_of(changes))} == {2}, "at its scale alone"


def test_options_of_parts_and_stand_ins_too(plan_of: PlanOf) -> None:
    tasks = {"jigsaw": {"permutations": 7}, "colorization": {"neighbors": 3}}
    smoke = {
        "parts": {"task": tasks, "fusion": {"tte": {"beta0": 0.5}}},
        "stand_ins": {"encoder": {"resnet8": "resnet26"}},
    }
    plan = plan_of({"at_scale": {"smoke": smoke}})
    assert plan.studies["small"].stand_ins == {"resnet8": "resnet26"}
    for source in sources(plan):
        assert source["encoder"]["name"] == "resnet26"
        tasks = {task["name"]: task for task in source["tasks"]}
        assert (tasks["jigsaw"]["permutations"], tasks["colorization"]["neighbors"]) == (7, 3)
        fusion = source["fusion"]
        assert fusion["name"] == "none" or (fusion["beta0"], fusion["window"]) == (0.5, 1), "beside the scale's own"
    explicit = {"name": "jigsaw", "permutations": 20}
    found = sources(plan_of({"at_scale": {"smoke": smoke}, "base/source/tasks": [explicit]}))
    assert {source["tasks"][0]["permutations"] for source in found} == {20}


def test_training_images_alone_are_asked_of_what_stands_in_too(plan_of: PlanOf) -> None:
    other = {"stand_ins": {"dataset": {"digits_m": {"name": "digits_m", "copies": 2}}}}
    asked = {"base/source/dataset": {"name": "digits_m", "copies": 3, "within": "train"}, "at_scale": {"smoke": other}}
    datasets = [job.settings["dataset"] for job in plan_of(asked).jobs.values() if job.stage == "prepare_dataset"]
    assert {(dataset["copies"], dataset.get("within")) for dataset in datasets} == {(2, "train"), (2, None)}


def test_settings_of_a_protocol_too(plan_of: PlanOf) -> None:
    smoke = {"target": {"epochs": 3}, "protocols": {"classification": {"batch_size": 48}}}
    jobs = plan_of({"at_scale": {"smoke": smoke}}).jobs.values()
    trained = [job.settings for job in jobs if job.stage == "transfer_knowledge"]
    assert {settings["batch_size"] for settings in trained} == {48}
    assert {settings["epochs"] for settings in trained if settings["transfer"]["name"] == "fsp"} == {3}


def test_a_study_that_changes_another_scale_keeps_its_keys(plan_of: PlanOf) -> None:
    assert set(plan_of().jobs) == set(plan_of({"at_scale": {"paper": PAPER}}).jobs)


@pytest.mark.parametrize(
    ("at_scale", "message"),
    [
        ({"papr": PAPER}, "`at_scale`: unknown scale 'papr'. Did you mean 'paper'"),
        ({"paper": {"sources": {}}}, "`at_scale.paper.sources`: unknown key. Did you mean 'source'"),
        ({"paper": {"source": {"epoch": 3}}}, "`source.epoch`: unknown key. Did you mean 'epochs'"),
        ({"paper": {"source": {"method": "tte"}}}, "`source.method`: unknown key"),
        ({"paper": {"source": {"encoder": "resnet27"}}}, "`source.encoder`: Unknown encoder 'resnet27'"),
        ({"paper": {"parts": {"task": {"jigsaw": {"permutation": 3}}}}}, "parts.task.jigsaw.permutation`: unknown"),
        ({"paper": {"stand_ins": {"encoder": {"resnet8": "resnet27"}}}}, "stand_ins.encoder.resnet8`: Unknown encoder"),
        ({"paper": {"source": 3}}, "`at_scale.paper.source`"),
        ({"paper": 3}, "`at_scale.paper`"),
        ({"smoke": {"source": {"epochs": -1}}}, "`source.epochs`: should be greater than or equal to 0, but is -1"),
    ],
)
def test_what_is_wrong_is_told_at_whatever_scale_it_stands(
    plan_of: PlanOf, at_scale: dict[str, Any], message: str
) -> None:
    with pytest.raises(StudyError, match=re.escape(message)) as error:
        plan_of({"at_scale": at_scale})
    assert "\n" not in str(error.value)


def test_a_caption_tells_sides_of_stand_ins() -> None:
    assert _described({"name": "a", "image_size": {"height": 9, "width": 12}}) == "a, 9 x 12 px"
    assert _described({"name": "a", "image_size": 9}) == "a, 9 px"
