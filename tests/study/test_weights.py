"""Files of weights in a plan: looked for before any job, and part of what a job's result depends on."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tessera.errors import StudyError
from tessera.jobs import Job
from tessera.study.plan import Plan

PlanOf = Callable[..., Plan]
KNN: dict[str, Any] = {"grid/rows": [{"label": "knn", "target.protocol": "knn", "transfer.method": "none"}]} | {
    "grid/columns": {"source.dataset": ["digits_m"]}
}


@pytest.fixture
def file(project: Path) -> Path:
    (project / "weights").mkdir()
    path = project / "weights" / "resnet8.pth"
    path.write_bytes(b"weights")
    return path


def _changes(**weights: Any) -> dict[str, Any]:
    """Fine-tuning, linear_probe and the like of one source, in place of the study's own rows."""
    return {
        "base/source": {"dataset": "digits_m", "encoder": "resnet8", "method": "pretrained", **weights},
        "base/transfer/method": "soft_targets",
        "grid/rows": {"transfer.method": ["soft_targets", "fine_tune"]},
        "also": [],
    }


def _sources(plan: Plan) -> list[Job]:
    return [job for job in plan.jobs.values() if job.stage == "pretrain_source"]


def _refused(plan_of: PlanOf, changes: dict[str, Any]) -> str:
    with pytest.raises(StudyError) as raised:
        plan_of(changes)
    (line,) = str(raised.value).splitlines()
    return line


def test_all_cells_and_trials_share_one_source_that_names_what_the_file_holds(plan_of: PlanOf, file: Path) -> None:
    (job,) = _sources(plan_of(_changes(weights="weights/resnet8.pth")))
    assert (job.trial, job.words) == (None, "digits_m.resnet8.pretrained")
    assert {
        job.words[-3:]
        for job in plan_of(_changes(weights="weights/resnet8.pth") | KNN).jobs.values()
        if job.trial is not None
    } == {".t0", ".t1"}
    assert job.settings["source"]["weights"] == {
        "file": "weights/resnet8.pth",
        "sha256": sha256(b"weights").hexdigest(),
        "prefix": None,
        "normalization": None,
        "mean": None,
        "std": None,
        "classifier": False,
    }


def test_a_changed_file_is_another_job_and_the_same_file_is_the_same(plan_of: PlanOf, file: Path) -> None:
    (job,) = _sources(plan_of(_changes(weights="weights/resnet8.pth")))
    (same,) = _sources(plan_of(_changes(weights={"file": "weights/resnet8.pth"})))
    assert same.key == job.key
    file.write_bytes(b"Weights")
    (changed,) = _sources(plan_of(_changes(weights="weights/resnet8.pth")))
    assert changed.key != job.key


@pytest.mark.parametrize(
    ("weights", "line"),
    [
        ("weights/resnet18.pth", "no such file, relative to the project's folder. Did you mean `resnet8.pth`?"),
        ("nowhere/file.pt", "no such file, relative to the project's folder. Put it there, or name the place"),
        ("weights/folder.pt", "`weights/folder.pt`: is a folder: name the file in it"),
        ("weights/empty.pt", "`weights/empty.pt`: is empty: get it again"),
        ("weights/resnet8.h5", "should be a file of weights, which ends with .safetensors, .pt, "),
        ({"file": "weights/resnet8.pth", "sha256": "0" * 64}, "but `source.weights.sha256` says 000"),
        ({"file": "weights/resnet8.pth", "prefx": "x"}, "`source.weights.prefx`: unknown key. Did you mean 'prefix'?"),
        (
            {"file": "weights/resnet8.pth", "mean": [0.5, 0.5, 0.5], "std": [0.1, 0.0, 0.1]},
            "`source.weights.std`: should be above 0",
        ),
        ({"file": "weights/resnet8.pth", "mean": [0.5, 0.5, 0.5]}, "mean and std go together"),
        (
            {"file": "a.pth", "normalization": "imagenet", "mean": [0, 0, 0], "std": [1, 1, 1]},
            "normalization is `imagenet`, but mean and std are given: leave one out",
        ),
        ({}, "should name a file of weights, as in `source.weights: weights/resnet18.pth`"),
    ],
)
def test_what_is_no_file_of_weights_is_refused_before_any_job(
    plan_of: PlanOf, file: Path, weights: Any, line: str
) -> None:
    file.with_name("folder.pt").mkdir()
    file.with_name("empty.pt").touch()
    assert line in _refused(plan_of, _changes(weights=weights))


def test_the_method_asks_for_a_file(plan_of: PlanOf) -> None:
    assert "`source.weights`: should name a file of weights, as in" in _refused(plan_of, _changes())


def test_weights_are_for_a_source_that_does_not_train(plan_of: PlanOf, file: Path) -> None:
    line = _refused(plan_of, {"base/source/weights": "weights/resnet8.pth"})
    assert "weights is a trained encoder's file, but epochs is" in line
    assert "only where source.method is `pretrained`" in line


def test_a_row_of_untrained_encoders_takes_no_file(plan_of: PlanOf, file: Path) -> None:
    changes = _changes(weights="weights/resnet8.pth") | {"grid/rows": {"source.method": ["pretrained", "random"]}}
    words = {job.words.rpartition(".t")[0] or job.words for job in _sources(plan_of(changes))}
    assert words == {"digits_m.resnet8.pretrained", "digits_m.resnet8.untrained"}


def test_settings_that_a_file_leaves_no_room_for_are_refused(plan_of: PlanOf, file: Path) -> None:
    changes = _changes(weights="weights/resnet8.pth") | {
        "grid/rows": [{"label": "slow", "source.optimizer.learning_rate": 0.1}]
    }
    assert "the encoder is that of a file (`source.weights`)" in _refused(plan_of, changes)


def test_a_transfer_of_the_sources_own_classifier_needs_the_files(plan_of: PlanOf, file: Path) -> None:
    row = [{"label": "KD", "transfer": {"method": "soft_targets", "teacher": "source"}}]
    changes = _changes(weights="weights/resnet8.pth") | {"grid/rows": row}
    assert "weights.classifier is not set: set it, where the file has one" in _refused(plan_of, changes)
    with_it = _changes(weights={"file": "weights/resnet8.pth", "classifier": True}) | {"grid/rows": row}
    (job,) = _sources(plan_of(with_it))
    assert job.settings["source"]["weights"]["classifier"] is True
