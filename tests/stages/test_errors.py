"""What a stage says of errors: one line where the user can mend it, all of it where we must."""

import errno
import sys
from pathlib import Path
from typing import Any

import pytest
from stages_runs import run, write

from tessera import artifacts
from tessera.errors import DataError, DivergedError, StudyError
from tessera.jobs import EvaluateTarget, Job, PrepareDataset
from tessera.stages import StageJob, explain, parse_spec, run_stage


def test_an_error_that_the_user_can_mend_is_one_line(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: StageJob[PrepareDataset]) -> None:
        raise DataError("class `cat` has no images")

    with pytest.raises(SystemExit, match="1"):
        run(job, fail, monkeypatch)
    assert capsys.readouterr().err == "error: class `cat` has no images\n"


def test_a_damaged_input_stops_the_job_and_names_the_file(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(job, write, monkeypatch)
    Path(job.folder, "images.bin").write_text("x")
    second = job.model_copy(update={"words": "second", "inputs": {"dataset": job.folder}})
    with pytest.raises(SystemExit, match="1"):
        run(second, write, monkeypatch)
    message = capsys.readouterr().err
    assert f"{job.folder}: images.bin has 1 bytes, but should have 6. Moved to resume/damaged/" in message
    assert not Path(job.folder).exists()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "resume/x"), "the disk is full while writing resume/x"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried"), "Lower `batch_size`"),
        (MemoryError(), "Run fewer jobs at once"),
    ],
)
def test_what_runs_out_is_explained(error: Exception, words: str) -> None:
    assert words in str(explain(error))
    assert "\n" not in str(explain(error))


def test_a_defect_keeps_its_traceback() -> None:
    assert explain(KeyError("x")) is None
    assert explain(OSError(errno.EIO, "I/O error")) is None


def test_a_job_of_another_stage_is_refused(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(job.model_copy(update={"stage": "pretrain_source"}), write, monkeypatch)
    assert "runs the stage `prepare_dataset`, but the job is one of `pretrain_source`" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["{"], ['{"stage": 3}'], ["no/such/file.json"]])
def test_a_wrong_specification_is_refused(words: list[str]) -> None:
    with pytest.raises(StudyError, match="specification"):
        parse_spec(Job, words)


def test_a_specification_is_a_file_or_the_json_itself(job: Job, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(job.model_dump_json(indent=1))
    assert parse_spec(Job, ["job.json"]) == parse_spec(Job, [job.model_dump_json()]) == job


def diverges(_: StageJob[Any]) -> None:
    raise DivergedError("network: `a` is not finite: the training diverged.")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"source": {"optimizer": {"learning_rate": 3.0}}}, "Lower source.optimizer.learning_rate (now 3) or source."),
        ({"optimizer": {"learning_rate": 3.0, "clip_norm": None}}, "Lower target.optimizer.learning_rate (now 3), or"),
    ],
)
def test_who_measures_names_the_training_that_diverged(
    job: Job, measuring: Job, settings: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    trained = job.model_copy(update={"settings": settings})
    draft = Path("draft")
    draft.mkdir()
    (draft / "weights.bin").write_text("weights")
    artifacts.publish(trained, draft, 1.0, {})
    measuring = measuring.model_copy(update={"inputs": dict.fromkeys(measuring.inputs, trained.folder)})
    monkeypatch.setattr(sys, "argv", ["script", measuring.model_dump_json()])
    with pytest.raises(SystemExit, match="1"):
        run_stage(EvaluateTarget, diverges)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: network: `a` is not finite: the training diverged. {words}")


def test_a_shortage_names_the_jobs_own_settings(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    large = job.model_copy(update={"settings": {"dataset": {"name": "digits_m", "copies": 32}}})

    def fail(_: StageJob[PrepareDataset]) -> None:
        raise MemoryError

    with pytest.raises(SystemExit, match="1"):
        run(large, fail, monkeypatch)
    assert "or lower dataset.copies (now 32) or the image size." in capsys.readouterr().err
