"""`tessera why`: every kind of edit of a study is explained by the setting that was edited, and by no other."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tessera.__main__ import main
from tessera.artifacts import resume_folder
from tessera.explain import nearest
from tessera.jobs import Job, PretrainSource
from tessera.monitor.estimates import Estimates
from tessera.states import state_of
from tessera.study.extending import extensions
from tessera.study.plan import Plan

Edit = Callable[[Any], None]
PUZZLE = {"name": "jigsaw", "gray": 0.2}
FEW = {"name": "digits_m", "copies": 2}
BINS = {"name": "colorization", "bins": "gamut_nn"}

# What is edited; the one change that is told; how many of the 19 jobs would run.
EDITS: dict[str, tuple[Edit, str, int]] = {
    "a method's option": (lambda e: e.set("grid/rows/1/source.fusion.window", 7), "source.fusion.window  1 → 7", 8),
    "an encoder": (lambda e: e.set("base/source/encoder", "resnet26"), "source.encoder  resnet8 → resnet26", 16),
    "batch size": (lambda e: e.set("base/source/batch_size", 48), "source.batch_size  16 → 48", 16),
    "a nested setting": (
        lambda e: e.set("base/source.optimizer.learning_rate", 0.3),
        "source.optimizer.learning_rate  0.05 → 0.3",
        16,
    ),
    "trials": (lambda e: e.config.update(trials=4), "trial  0 → 2, 3", 16),
    "a dataset's option": (lambda e: e.set("base/source/dataset", FEW), "source.dataset.copies  1 → 2", 18),
    "a task's option": (lambda e: e.set("base/source/tasks/0", PUZZLE), "source.tasks.jigsaw.gray  0.5 → 0.2", 16),
    "a task's labels": (
        lambda e: e.set("base/source/tasks/1", BINS),
        "source.tasks.colorization.bins  official313 → gamut_nn",
        17,
    ),
    "the tasks": (
        lambda e: e.set("base/source/tasks", ["jigsaw"]),
        "source.tasks  [jigsaw, colorization] → [jigsaw]",
        16,
    ),
    "precision": (lambda e: e.config.update(precision="float32"), "precision  auto → float32", 16),
    "label_fraction": (lambda e: e.set("base/target/label_fraction", 0.2), "target.label_fraction  0.1 → 0.2", 12),
    "the target's network": (
        lambda e: e.set("base/target/network", {"name": "reduced_alexnet", "hidden": 32}),
        "target.network.hidden  64 → 32",
        8,
    ),
    "a transfer's option": (
        lambda e: e.set("base/transfer", {"method": "soft_targets", "clusters": 5}),
        "transfer.clusters  8 → 5",
        8,
    ),
    "a protocol's option": (
        lambda e: e.set("grid/columns/target.protocol/0", {"name": "knn", "neighbors": 3}),
        "target.protocol.neighbors",
        4,
    ),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_is_named_once_for_all_that_is_made_from_it(what: str, edited: Any, tessera: Any) -> None:
    edited.make()
    edit, told, number = EDITS[what]
    edit(edited)
    edited.write()
    text = tessera("why")
    assert f"{number} would run" in text.splitlines()[0]
    differing = [line.strip() for line in text.splitlines() if " → " in line and line.startswith("    ")]
    assert [line for line in differing if not line.startswith("trials")] == [next(d for d in differing if told in d)]
    assert f"{number} jobs: the nearest artifact that is there differs in" in text


def test_a_stage_of_another_version(edited: Any, tessera: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    edited.make()
    old = PretrainSource.version
    monkeypatch.setattr(PretrainSource, "version", old + 1)
    text = tessera("why")
    assert f"    version of pretrain_source  {old} → {old + 1}\n  jobs: 4 pretrain_source, 4 transfer" in text
    assert "16 would run" in text


def test_another_scale_names_each_setting_once(edited: Any, tessera: Any) -> None:
    edited.make()
    edited.config["scale"] = "reduced"
    edited.write()
    text = tessera("why")
    lines = [line.split()[0] for line in text.splitlines() if line.startswith("    ") and " → " in line]
    assert len(set(lines)) == len(lines) > 10
    assert "    source.dataset.copies+target.dataset.copies  1 → 4" in text
    assert "causes; a job can stand under several:" in text
    assert "    scale  smoke → reduced" in text


def test_a_renamed_row_costs_nothing(edited: Any, tessera: Any) -> None:
    edited.make()
    edited.set("grid/rows/0/label", "jointly")
    edited.write()
    text = tessera("why")
    assert "19 made, 0 would run" in text
    assert "no job runs again" in text
    assert "    row renamed  together → jointly" in text


def test_a_new_row_is_told_from_the_nearest(edited: Any, tessera: Any) -> None:
    edited.make()
    edited.study["grid"]["rows"].append({"label": "longer", "source.method": "tte", "source.epochs": 9})
    edited.write()
    text = tessera("why", "longer")
    assert "Row 'longer' of which: 11 jobs, 3 made, 8 would run" in text
    assert "    source.epochs  2 → 9\n" in text
    assert "    row  null → longer" in tessera("why", "which")


def job_of(plan: Plan, stage: str, word: str = "", trial: int | None = 0) -> Job:
    return next(j for j in plan.jobs.values() if j.stage == stage and word in j.name and j.trial in (trial, None))


def test_an_artifact_that_was_deleted(edited: Any, tessera: Any) -> None:
    plan = edited.make()
    job = job_of(plan, "pretrain_source", "tte")
    shutil.rmtree(job.folder)
    assert "1 job: made before (last 2026-11-20), and the artifact is gone since" in tessera("why")
    text = tessera("why", job.name)
    assert "Not made: it would run." in text
    assert "the artifact is gone since: deleted, or moved away." in " ".join(text.split())
    measured = next(j for j in plan.jobs.values() if job.folder in j.inputs.values())
    text = " ".join(tessera("why", measured.folder).split())
    assert "it would not run." in text
    assert f"source: {job.name}: not there, and not needed any more" in text


def test_an_artifact_that_was_damaged(edited: Any, tessera: Any) -> None:
    job = job_of(edited.make(), "pretrain_source", "tte")
    Path("resume/damaged").mkdir()
    shutil.move(job.folder, f"resume/damaged/{job.name}.123")
    assert "1 job: the artifact was damaged, and was moved to resume/damaged" in tessera("why")
    assert "was damaged" in tessera("why", job.key)


def test_artifacts_of_other_code_count_as_made(edited: Any, tessera: Any) -> None:
    plan = edited.make(code="other")
    text = " ".join(tessera("why").split())
    assert "19 made, 0 would run" in text
    assert "19 of those made are from other code of the same version (1 prepare_dataset, 2 generate" in text
    job = job_of(plan, "pretrain_source")
    assert f"of the same version of pretrain_source ({job.version})" in " ".join(tessera("why", job.key).split())


def test_nothing_is_there_yet(edited: Any, tessera: Any) -> None:
    plan = edited.write()
    text = tessera("why")
    assert "19 jobs: no artifact of this stage is there to compare with" in text
    assert "Its tables are not made yet." in text
    assert "No artifact of pretrain_source is there" in tessera("why", job_of(plan, "pretrain_source").name)


def test_a_job_is_explained_with_its_inputs(edited: Any, tessera: Any) -> None:
    edited.make()
    edited.set("base/source/batch_size", 48)
    job = job_of(edited.write(), "transfer_knowledge", "tte", 1)
    text = tessera("why", job.key)
    assert "    source.batch_size  16 → 48" in text
    assert "(no study wants it any more)" in text
    assert "needed by: which; rows apart" in text
    assert "dataset: digits_m-" in text
    source = next(line for line in text.splitlines() if line.startswith("  source: "))
    assert source.endswith(": to be made first")


def test_what_an_edit_left_behind_is_nearer_than_a_neighbour(edited: Any, tessera: Any) -> None:
    """Both rows differ in one setting from the new one; the one that nothing wants is what was edited."""
    edited.study["grid"]["rows"] = [
        {"label": "short", "source.method": "equal", "source.epochs": 3},
        {"label": "long", "source.method": "equal", "source.epochs": 5},
    ]
    edited.make()
    edited.set("grid/rows/1/source.epochs", 4)
    edited.write()
    assert "    source.epochs  5 → 4\n" in tessera("why", "long")


def test_an_artifact_that_no_study_needs(edited: Any, tessera: Any) -> None:
    job = job_of(edited.make(), "pretrain_source", "tte")
    edited.set("base/source/batch_size", 48)
    edited.write()
    text = " ".join(tessera("why", job.folder).split())
    assert "no study needs it: `tessera prune` would remove it" in text
    assert "source.batch_size 16 → 48" in text


def test_an_input_whose_manifest_is_gone_is_named(edited: Any, tessera: Any) -> None:
    plan = edited.make()
    job = job_of(plan, "pretrain_source", "joint")
    edited.set("base/source/batch_size", 48)
    new = edited.write()
    for old in plan.jobs.values():
        if old.stage == "pretrain_source":
            shutil.rmtree(old.folder)
            shutil.rmtree(resume_folder(old))
    text = tessera("why", job_of(new, "evaluate_target", "knn").name)
    assert f"    input source  {job.name} → another\n" in text
    assert "source.batch_size" not in text


def test_precision_is_read_from_the_key(edited: Any, tessera: Any) -> None:
    """A manifest says what a job computed with, which is not what was asked for."""
    edited.config["precision"] = "bfloat16"
    edited.make()
    del edited.config["precision"]
    edited.write()
    assert "    precision  bfloat16 → auto\n" in tessera("why")


def test_words_that_mean_nothing_or_too_much(edited: Any, capsys: pytest.CaptureFixture[str]) -> None:
    edited.make()
    assert main(["why", "togethr"]) == 1
    assert "called 'togethr'. Did you mean 'together'?" in capsys.readouterr().err
    assert main(["why", "digits_m.resnet8"]) == 1
    error = capsys.readouterr().err
    assert "error: 'digits_m.resnet8' is a part of 4 names. Give more of one:\n  artifacts/source/digits_m" in error
    assert main(["why", "xyzzy"]) == 1
    assert "Rows: 'together', 'apart'." in capsys.readouterr().err


def test_a_manifest_that_cannot_be_read_is_passed_over(edited: Any, tessera: Any) -> None:
    plan = edited.make()
    for job in plan.jobs.values():
        if job.stage == "evaluate_target":
            Path(job.manifest).write_text("{")
    assert "19 made" in tessera("why")


def test_many_artifacts_are_looked_through_quickly(edited: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is slow grows with jobs times artifacts: only the nearest are compared setting by setting."""
    for half in range(2, 12):
        edited.set("base/source/batch_size", 2 * half)
        edited.make()
    edited.set("base/source/batch_size", 64)
    explainer = nearest.Explainer(plan := edited.write())
    compared: list[Any] = []
    original = nearest.changes
    monkeypatch.setattr(nearest, "changes", lambda *facts: compared.append(facts) or original(*facts))
    whys = [explainer.why(job) for job in plan.jobs.values()]
    to_do = [why for why in whys if why.reason is nearest.Reason.CHANGED]
    assert len(to_do) == 16
    assert len(compared) <= 12 * len(to_do)
    assert {change.key for why in to_do for change in why.changes} == {"source.batch_size"}


def test_a_training_that_goes_on_from_a_state_says_so_and_what_is_left_is_estimated(
    edited: Any, tessera: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    edited.set("base/source/optimizer", {"schedule": "wsd", "decay_epochs": 2})
    edited.set("grid/columns", {"target.protocol": ["knn"]})
    edited.set("grid/rows", [{"label": "short", "source.method": "equal", "source.epochs": 6}])
    edited.config["trials"] = 1
    plan = edited.make(seconds=60.0)
    (short,) = (job for job in plan.jobs.values() if job.stage == "pretrain_source")
    long_row = {"label": "long", "source.method": "equal", "source.epochs": 12}
    longest = {"label": "longest", "source.method": "equal", "source.epochs": 20}
    edited.set("grid/rows", [*edited.study["grid"]["rows"], long_row, longest])
    plan = edited.write()
    _, long, longest_job = (job for job in plan.jobs.values() if job.stage == "pretrain_source")
    assert "go on" not in tessera("why", long.name), "its state is gone"
    edited.make_one(state_of(short, 4))
    said = " ".join(tessera("why", long.name).split())
    assert f"It would go on after epoch 4, from the state {state_of(short, 4).folder}" in said
    said = " ".join(tessera("why", longest_job.name).split())
    assert f"after epoch 10, from the state that {long.name} is to leave" in said
    assert main(["plan"]) == 0  # its names of jobs are wider than a terminal
    said = " ".join(capsys.readouterr().out.split())
    assert "Go on from the state of a shorter training:" in said
    assert f"{long.name}: after epoch 4 (33% of it), which is there" in said
    assert f"{longest_job.name}: after epoch 10 (50% of it), which {long.name} leaves" in said
    estimates = Estimates(("a processor", "cpu"))
    estimates.learn(plan.root / short.manifest)
    whole = estimates.of_job(long)
    estimates.extended = extensions([long], plan.root)
    rest = estimates.of_job(long)
    assert whole is not None
    assert rest is not None
    assert (whole.seconds, rest.seconds) == (pytest.approx(120.0), pytest.approx(80.0))
