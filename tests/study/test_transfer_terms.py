"""What the plan says of transfers that compare layers and relations, before any job starts."""

from collections.abc import Callable
from typing import Any

import pytest

from tessera.errors import StudyError
from tessera.study.plan import Plan

PlanOf = Callable[..., Plan]


def told(plan_of: PlanOf, transfer: Any, **changes: Any) -> str:
    with pytest.raises(StudyError) as caught:
        plan_of({"base/transfer": transfer, "also": [], **changes})
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize("layers", ["stag", [["conv5"]], [], [["conv5", 3]], 3])
def test_layers_that_are_neither_a_word_nor_pairs_are_refused_in_one_line(layers: Any, plan_of: PlanOf) -> None:
    line = told(plan_of, {"method": "attention", "layers": layers})
    assert f"layers`: is {layers}: give `stages`, `middle` or `last`, or pairs [[student's, teacher's], …]" in line


def test_layers_by_name_are_planned(plan_of: PlanOf) -> None:
    for method in ("attention", "nst", "fitnet", "vid", "jacobian", "similarity"):
        pairs = [["conv5", "stage3"], ["conv4", "stage2.first"]]
        assert plan_of({"base/transfer": {"method": method, "layers": pairs}, "also": []}).jobs


@pytest.mark.parametrize("method", ["attention", "nst", "fitnet", "vid", "jacobian", "similarity"])
def test_layers_that_a_network_lacks_are_refused_with_those_there_are(method: str, plan_of: PlanOf) -> None:
    members = [{"method": method, "layers": [["conv5", "stage3"], ["conv55", "stage3"]]}, "rkd"]
    assert told(plan_of, members).endswith(
        "`transfer.layers`: the target network (`reduced_alexnet`) has no layer `conv55`. Did you mean 'conv5'? Known: "
        "conv2, conv3, conv4, conv5, pool1, pool2."
    )
    line = told(plan_of, {"method": method, "layers": [["conv5", "layer3"]]})
    assert "`transfer.layers`: the source encoder (`resnet8`) has no layer `layer3`. Known: " in line


def test_angles_want_three_images_a_batch(plan_of: PlanOf) -> None:
    line = told(plan_of, "rkd", **{"base/target/batch_size": 2})
    assert line.endswith(
        "transfer `rkd` compares angles of three images, but target.batch_size is 2: set it to 3 or more, or "
        "its `angle` to 0"
    )
    for transfer, batch in (("rkd", 3), ({"method": "rkd", "angle": 0}, 2)):
        assert plan_of({"base/transfer": transfer, "base/target/batch_size": batch, "also": []}).jobs
    line = told(plan_of, {"method": "rkd", "distance": 0, "angle": 0})
    assert line.endswith("distance and angle are both 0: give one a weight")


def test_a_logits_jacobian_wants_a_source_with_classes(plan_of: PlanOf) -> None:
    line = told(plan_of, {"method": "jacobian", "of": "logit"})
    assert "transfer `jacobian` reads the source's own classifier, but no task of the source learns class" in line


def test_two_first_stages_do_not_go_together(plan_of: PlanOf) -> None:
    line = told(plan_of, [{"method": "fitnet", "mode": "two_stage"}, "fsp"])
    assert "each of `fitnet` and `fsp` has a first stage of its own, but one at most can" in line
