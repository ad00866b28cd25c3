"""A target network on an encoder: which one it gets, at every scale, and what a job is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tessera.errors import StudyError
from tessera.jobs import Job
from tessera.models.encoders import options as encoder_options
from tessera.study.plan import Plan

PlanOf = Callable[..., Plan]
ALONE: dict[str, Any] = {"grid/rows": {}, "grid/columns": {}, "also": [{"label": "a"}]}


def network_of(plan: Plan) -> Any:
    """The network that the plan's transfers train; the same in all of them."""
    jobs: list[Job] = [job for job in plan.jobs.values() if job.stage == "transfer_knowledge"]
    (found,) = {str(job.settings["network"]): job.settings["network"] for job in jobs}.values()
    return found


def classifier(**options: Any) -> dict[str, Any]:
    return {**ALONE, "base/target/network": {"name": "classifier", **options}}


@pytest.mark.parametrize("transfer", ["none", "fsp", "soft_targets", "cetl"])
def test_any_encoder_is_a_student_of_the_source(plan_of: PlanOf, transfer: str) -> None:
    plan = plan_of({**classifier(encoder="resnet26", hidden=[7]), "base/transfer": transfer})
    assert network_of(plan) == {"name": "classifier", "encoder": {"name": "resnet26"}, "hidden": [7]}
    assert any(".classifier." in job.words for job in plan.jobs.values())


@pytest.mark.parametrize("transfer", ["none", "fsp", "fine_tune"])
def test_without_an_encoder_it_gets_the_source_s(plan_of: PlanOf, transfer: str) -> None:
    plan = plan_of({**classifier(), "base/transfer": transfer})
    assert network_of(plan) == {"name": "classifier", "encoder": {"name": "resnet8"}, "hidden": []}
    named = plan_of({**classifier(encoder="resnet8"), "base/transfer": transfer})
    assert set(named.jobs) == set(plan.jobs), "named or not, it is the same encoder"


def test_what_measures_the_source_itself_reads_no_network(plan_of: PlanOf) -> None:
    source = {"dataset": "digits_m", "method": "supervised"}
    asked = {"base/source": source, "base/transfer": "source_only"}
    assert network_of(plan_of({**classifier(encoder="resnet8"), **asked})) is None
    assert network_of(plan_of({**ALONE, **asked})) is None
    with pytest.raises(StudyError, match=r"`target\.network`: no job .+`source_only` builds the network"):
        plan_of({**ALONE, **asked, "grid/rows": {"target.network": ["classifier", "reduced_alexnet"]}})


def test_a_row_may_name_what_fine_tuning_trains(plan_of: PlanOf) -> None:
    rows = [{"label": "deep", "target.network": {"name": "classifier", "hidden": [8]}}]
    assert network_of(plan_of({"base/transfer": "fine_tune", "grid/rows": rows, "also": []}))["hidden"] == [8]
    rows = [{"label": "small", "target.network": "reduced_alexnet"}]
    with pytest.raises(StudyError, match="`fine_tune` builds the network from the source encoder"):
        plan_of({"base/transfer": "fine_tune", "grid/rows": rows, "also": []})


def test_fine_tuning_another_encoder_is_refused(plan_of: PlanOf) -> None:
    with pytest.raises(StudyError, match=r"`fine_tune` copies source\.encoder \(`resnet8`\) into target\.network, but"):
        plan_of({**classifier(encoder="resnet26"), "base/transfer": "fine_tune"})


def test_a_row_without_a_source_may_name_the_encoder_of_its_network(plan_of: PlanOf) -> None:
    asked = {"base/transfer": "none", "grid/rows": {"source.encoder": ["resnet8", "resnet26"]}, "also": []}
    plan = plan_of({"base/target/network": "classifier", **asked})
    encoders = {job.settings["network"]["encoder"]["name"] for job in plan.jobs.values() if "network" in job.settings}
    assert encoders == {"resnet8", "resnet26"}
    with pytest.raises(StudyError, match="`none` reads no source"):
        plan_of(asked)


def test_a_scale_reaches_the_encoder_within_a_network(plan_of: PlanOf, project: Path) -> None:
    scale = project / "config" / "scales" / "smoke.yaml"
    scale.write_text(scale.read_text() + "stand_ins: {encoder: {resnet26: resnet8, resnet50: vgg16}}\n")
    plan = plan_of(classifier(encoder="resnet26"))
    assert network_of(plan)["encoder"] == {"name": "resnet8"}
    assert plan.studies["small"].stand_ins == {"resnet26": "resnet8"}
    wide = network_of(plan_of(classifier(encoder={"name": "resnet50"})))["encoder"]
    assert (wide["name"], wide["width"]) == ("vgg16", "quarter"), "the scale's options of the stand-in"


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"encoder": "resnet62"}, r"`target\.network\.encoder`: Unknown encoder 'resnet62'\. Did you mean 'resnet26'"),
        ({"encoder": {"name": "vgg16", "widht": 1}}, r"`target\.network\.encoder\.widht`: unknown key\. Did you mean"),
        ({"hidden": [8, 0]}, r"`target\.network\.hidden\[1\]`: should be greater than or equal to 1, but is 0"),
    ],
)
def test_what_is_wrong_within_it_is_told_with_its_key(plan_of: PlanOf, network: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        plan_of(classifier(**network))


@pytest.mark.parametrize("place", ["base/source/encoder", "base/target/network"])
def test_a_network_of_timm_is_refused_before_any_job_where_timm_is_not(
    plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(encoder_options, "find_spec", lambda name: None)
    encoder_options._of_timm.cache_clear()
    encoder = {"name": "timm", "model": "resnet18"}
    value = encoder if place.endswith("encoder") else {"name": "classifier", "encoder": encoder}
    try:
        with pytest.raises(StudyError) as raised:
            plan_of({**ALONE, place: value})
    finally:
        encoder_options._of_timm.cache_clear()
    (line,) = str(raised.value).splitlines()
    assert "needs the package timm, which is not installed: pip install -e '.[timm]'" in line
