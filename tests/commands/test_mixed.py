"""A study whose artifacts were made in several ways under the same keys says so."""

from typing import Any

import pytest

from tessera.explain.mixed import mixed
from tessera.jobs import Job


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"threads": 1}, {"threads": 1}, ""),
        ({"threads": 1}, {"threads": 2}, "several numbers of threads (1, 2)"),
        ({"threads": 1, "device": "cuda"}, {"threads": 2, "device": "cuda"}, ""),
        ({"precision": "bfloat16"}, {"precision": "float32"}, "several precisions (bfloat16, float32)"),
        ({"threads": 1}, {}, ""),
    ],
)
def test_several_ways_are_named_once(
    edited: Any, tessera: Any, first: dict[str, Any], second: dict[str, Any], said: str
) -> None:
    number = 0

    def about(job: Job) -> dict[str, Any]:
        nonlocal number
        number += 1
        return {"device": "cpu", **(first if number % 2 else second)}

    plan = edited.write()
    for job in plan.jobs.values():
        edited.make_one(job, hardware=about(job))
    lines = mixed(plan, ["which"])
    assert len(lines) == bool(said)
    assert said in "".join(lines)
    assert ("Made in several ways:" in tessera("plan")) == bool(said)


def test_a_precision_that_was_asked_for_is_no_mixture(edited: Any) -> None:
    edited.config["precision"] = "float32"
    plan = edited.write()
    for number, job in enumerate(plan.jobs.values()):
        edited.make_one(job, hardware={"device": "cpu", "precision": ("bfloat16", "float32")[number % 2]})
    assert mixed(plan, ["which"]) == []


def test_compiled_pretrainings_beside_others_are_a_mixture(edited: Any) -> None:
    plan = edited.write()
    pretrainings = [job for job in plan.jobs.values() if job.stage == "pretrain_source"]
    others = [job for job in plan.jobs.values() if job.stage != "pretrain_source"]
    for job in plan.jobs.values():
        edited.make_one(job, hardware={"device": "cpu", **({"compiled": True} if job in pretrainings else {})})
    assert others
    assert mixed(plan, ["which"]) == []  # what takes no steps of a pretraining is neither
    edited.make_one(pretrainings[0], hardware={"device": "cpu"})
    (line,) = mixed(plan, ["which"])
    assert "several kinds of passes (compiled, not compiled)" in line
