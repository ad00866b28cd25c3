"""Trainings that go on from a shorter one's state, in a plan: which, in which order, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shipped import project

from tessera.errors import StudyError
from tessera.jobs import Job
from tessera.states import Unlike, state_of, states_needed, unmoved_epochs
from tessera.study.extending import Extension, extensions, passed_over
from tessera.study.plan import Plan, make_plan
from tessera.study.together import together
from tessera.training.checkpoint import Checkpoint

PlanOf = Callable[..., Plan]
WSD = {"schedule": "wsd", "decay_epochs": 2, "learning_rate": 0.05}
LENGTHS = [{"label": f"{epochs} epochs", "source.epochs": epochs} for epochs in (9, 3, 5)]


def plan_with(plan_of: PlanOf, rows: list[dict[str, Any]] = LENGTHS, **changes: Any) -> Plan:
    usual = {
        "base/source/method": "equal",
        "base/source/optimizer": WSD,
        "base/target/protocol": "knn",
        "base/transfer": None,
        "grid/rows": rows,
        "grid/columns": None,
        "also": None,
        "trials": 1,
    }
    return plan_of({**usual, **changes})


def pretrainings(plan: Plan) -> dict[int, Job]:
    """By their epochs, the shortest first."""
    jobs = [job for job in plan.jobs.values() if job.stage == "pretrain_source"]
    return dict(sorted((job.settings["source"]["epochs"], job) for job in jobs))


def keep(plan: Plan, state: Job) -> None:
    path = plan.root / state.manifest
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"settings": state.settings}))


def told(found: dict[str, Extension], plan: Plan) -> dict[int, tuple[int, int | None]]:
    """Epochs of a training to those of its state, and of the training that is made before it."""
    by_folder = {job.folder: epochs for epochs, job in pretrainings(plan).items()}
    return {
        by_folder[folder]: (item.state.settings["epochs"], None if item.after is None else by_folder[item.after.folder])
        for folder, item in found.items()
    }


def test_each_training_goes_on_from_the_longest_that_is_shorter(plan_of: PlanOf) -> None:
    plan = plan_with(plan_of)
    found = extensions(plan.jobs.values(), plan.root)
    assert told(found, plan) == {5: (1, 3), 9: (3, 5)}
    assert found[pretrainings(plan)[9].folder].share == pytest.approx(3 / 9)


def test_a_state_on_disk_counts_where_it_came_further(plan_of: PlanOf) -> None:
    plan = plan_with(plan_of)
    jobs = pretrainings(plan)
    keep(plan, state_of(jobs[9], 4))  # of a study before this one
    assert told(extensions(jobs.values(), plan.root), plan) == {5: (1, 3), 9: (4, None)}
    keep(plan, state_of(jobs[9], 8))
    assert told(extensions(jobs.values(), plan.root), plan)[9] == (4, None), "it is past the end of the beginning"
    keep(plan, state_of(jobs[9], 1))
    assert told(extensions([jobs[3], jobs[9]], plan.root), plan) == {3: (1, None), 9: (4, None)}


def test_who_came_further_alone_waits_for_nobody(plan_of: PlanOf) -> None:
    plan = plan_with(plan_of)
    jobs = pretrainings(plan)
    for done, goes_on in ((2, {5: (1, 3), 9: (3, 5)}), (3, {5: (1, 3)})):
        own = Checkpoint(plan.root / "resume" / "source" / jobs[9].name / "state")
        own.save({}, f"epoch {done} of 9")
        assert told(extensions(jobs.values(), plan.root), plan) == goes_on


def test_what_is_made_is_not_made_again_for_its_state(plan_of: PlanOf) -> None:
    plan = plan_with(plan_of)
    jobs = pretrainings(plan)
    assert extensions([jobs[9]], plan.root) == {}


def test_only_the_same_beginning_counts(plan_of: PlanOf) -> None:
    rows = [
        {"label": "a", "source.epochs": 4},
        {"label": "b", "source.epochs": 6, "source.optimizer.learning_rate": 0.1},
        {"label": "c", "source.epochs": 8, "source.tasks": ["jigsaw"]},
    ]
    plan = plan_with(plan_of, rows, trials=2)
    assert extensions(plan.jobs.values(), plan.root) == {}
    plan = plan_with(plan_of, LENGTHS[:2], trials=2)
    for folder, item in extensions(plan.jobs.values(), plan.root).items():
        assert item.after is not None
        assert item.after.trial == item.state.trial == plan.jobs[folder].trial


def test_a_state_that_would_serve_but_for_its_snapshots_is_told(plan_of: PlanOf) -> None:
    def asked(**source: Any) -> Plan:
        return plan_with(plan_of, [{"label": "9", "source.epochs": 9, **{f"source.{k}": v for k, v in source.items()}}])

    def found(plan: Plan) -> list[Unlike]:
        jobs = list(plan.jobs.values())
        return list(passed_over(jobs, plan.root, extensions(jobs, plan.root)).values())

    (plain,) = pretrainings(asked()).values()
    (other,) = pretrainings(asked(snapshots=[1, 3], statistics_batches=7)).values()
    (rate,) = pretrainings(asked(**{"optimizer.learning_rate": 0.2, "snapshots": [1, 3]})).values()
    plan = asked(snapshots=[1, 4])
    keep(plan, state_of(rate, 6))
    assert found(plan) == [], "that of another training"
    keep(plan, state_of(other, 5))
    assert found(plan) == [Unlike(5, (1, 3), 7)]
    assert found(asked(snapshots=[1, 3], statistics_batches=7)) == [], "it serves"
    keep(plan, state_of(plain, 6))
    assert found(plan) == [Unlike(6, (), None)], "the longest"
    assert found(asked(snapshots=[7])) == [], "the same until then"
    keep(plan, state_of(pretrainings(plan)[9], 7))
    assert found(plan) == [], "one that came further serves"


def test_two_ends_of_one_length_have_one_state(plan_of: PlanOf) -> None:
    rows = [
        {"label": "short decay", "source.epochs": 6},
        {"label": "long decay", "source.epochs": 8, "source.optimizer.decay_epochs": 4},
    ]
    plan = plan_with(plan_of, rows)
    assert told(extensions(plan.jobs.values(), plan.root), plan) == {8: (4, 6)}
    assert len(states_needed(plan.jobs.values(), plan.root)) == 1


@pytest.mark.parametrize("scale", ["smoke", "quickstart", "paper"])
def test_a_million_images_begin_with_a_third_of_them(scale: str, tmp_path: Path) -> None:
    """As the studies say, so that whoever runs both trains once."""
    names = ("third_of_a_million", "million_views")
    plan = make_plan({"studies": list(names), "scale": scale, "trials": 1}, project(tmp_path, *names))
    short, long = (
        [job for job in plan.jobs_of([name]).values() if job.stage == "pretrain_source" and unmoved_epochs(job)]
        for name in names
    )
    left = {state_of(job, unmoved_epochs(job)).key for job in short}
    assert len(left) == len(long) == 8
    assert {state_of(job, unmoved_epochs(short[0])).key for job in long} == left


def test_who_keeps_no_state_is_waited_for_by_none_and_has_the_same_key(plan_of: PlanOf) -> None:
    plan = plan_with(plan_of)
    other = plan_with(plan_of, **{"base/source/keep_state": False})
    assert list(plan.jobs) == list(other.jobs)
    assert extensions(other.jobs.values(), other.root) == {}
    assert not any("keep_state" in json.dumps(job.settings) for job in other.jobs.values())
    assert len(together(other.jobs.values())) == len(together(plan.jobs.values())) == 6


def test_a_fraction_as_warm_up_keeps_nothing(plan_of: PlanOf) -> None:
    constant = {"schedule": "constant", "warmup": 0.1}
    plan = plan_with(plan_of, **{"base/source/optimizer": constant})
    assert states_needed(plan.jobs.values(), plan.root) == set()
    assert extensions(plan.jobs.values(), plan.root) == {}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"base/source/optimizer": {**WSD, "decay_epochs": 4}},
            r"3 epochs.*optimizer.decay_epochs \(4\) is longer than the training \(3 epochs\).*raise source.epochs",
        ),
        (
            {"base/source/optimizer": {**WSD, "warmup_epochs": 2}},
            r"optimizer.warmup_epochs \(2\) and optimizer.decay_epochs \(2\) are longer than the training \(3 epochs\)",
        ),
        ({"base/source/optimizer": {**WSD, "warmup": 0.1}}, "under schedule `wsd` set warmup_epochs alone"),
        (
            {"base/source/optimizer": {"schedule": "cosine"}, "base/source/keep_state": True},
            "keep_state is true, but no epoch of this training is the same in a longer one: set optimizer.schedule "
            r"\(now `cosine`\)",
        ),
        (
            {
                "base/target/protocol": "classification",
                "base/target/optimizer": {**WSD, "decay_epochs": 90},
            },
            r"optimizer.decay_epochs \(90\) is longer than the training .*raise the target's epochs",
        ),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], line: str, plan_of: PlanOf) -> None:
    with pytest.raises(StudyError, match=line) as caught:
        plan_with(plan_of, **changes)
    assert "config/studies/small.yaml" in str(caught.value)


def test_a_base_may_leave_the_length_of_the_decay_to_its_rows(plan_of: PlanOf) -> None:
    rows = [{"label": "a", "source.optimizer.decay_epochs": 1, "source.epochs": 3}]
    plan = plan_with(plan_of, rows, **{"base/source/optimizer": {"schedule": "wsd"}})
    assert list(pretrainings(plan)) == [3]


def test_states_of_cells_whose_images_are_missing_are_spared(plan_of: PlanOf) -> None:
    gone = {"name": "image_folder", "path": "nowhere", "image_size": 32}
    rows = [*LENGTHS[:1], {"label": "gone", "source.epochs": 5, "source.dataset": gone}]
    plan = plan_with(plan_of, rows)
    assert any(folder.startswith("artifacts/states/") for folder in plan.spared)
