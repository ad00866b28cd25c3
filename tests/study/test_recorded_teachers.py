"""Views that are drawn once, in a plan: which rows share what a teacher says of them, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shipped import project

from tessera.errors import StudyError
from tessera.jobs import STAGES
from tessera.study.plan import Plan, make_plan

PlanOf = Callable[..., Plan]
ROWS = [
    {"label": "soft targets", "transfer": "soft_targets"},
    {"label": "other weight", "transfer": {"method": "soft_targets", "weight": 0.9}},
    {"label": "clusters", "transfer": {"method": "soft_targets", "teacher": "clusters", "clusters": 4}},
    {"label": "both", "transfer": [{"method": "fsp", "mode": "joint"}, "soft_targets"]},
    {"label": "none", "transfer": "none"},
]


def inputs_of(plan: Plan) -> dict[str, set[str]]:
    """Of each training of a target network: the words of its method, and the roles of its inputs."""
    jobs = [job for job in plan.jobs.values() if job.stage == "transfer_knowledge"]
    return {job.words.split(".")[2]: set(job.inputs) for job in jobs}


def test_rows_share_what_their_teacher_says(plan_of: PlanOf) -> None:
    plan = plan_of({"grid/rows": ROWS, "also": None, "base/target/views": "fixed 3"})
    recorded = [job for job in plan.jobs.values() if job.stage == "record_teacher"]
    told = {(job.trial, job.settings["label_fraction"]) for job in recorded}
    assert len(recorded) == len(told) == 4, "one a trial and column, for three rows"
    assert all(job.settings["views"] == "fixed 3" and set(job.inputs) == {"dataset", "source"} for job in recorded)
    roles = inputs_of(plan)
    assert roles["soft_targets"] == {"dataset", "source", "teacher"}
    assert roles["fsp-soft_targets"] == {"dataset", "source"}, "the maps are not recorded, so the teacher is asked"
    assert roles["none"] == {"dataset"}


def test_the_tour_runs_every_stage(tmp_path: Path) -> None:
    """As README says; so each stage runs by itself somewhere in what is shipped."""
    plan = make_plan({"studies": ["tour"]}, project(tmp_path, "tour"))
    assert {job.stage for job in plan.jobs.values()} == STAGES.keys()


def test_new_views_leave_keys_as_they_were(plan_of: PlanOf) -> None:
    plain = plan_of({"grid/rows": ROWS, "also": None})
    random = plan_of({"grid/rows": ROWS, "also": None, "base/target/views": "random"})
    assert list(plain.jobs) == list(random.jobs)
    assert not any(job.stage == "record_teacher" for job in plain.jobs.values())
    assert not any("views" in job.settings for job in plain.jobs.values())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"base/target/views": "fixed 0"}, "views"),
        ({"base/target/views": "fixed 3", "base/target/augmentation": "none"}, "are all the same: say `fixed 1`"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], told: str, plan_of: PlanOf) -> None:
    with pytest.raises(StudyError, match=told):
        plan_of({"grid/rows": ROWS[:1], "also": None, **changes})
