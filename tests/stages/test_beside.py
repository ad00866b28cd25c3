"""Several jobs that one process makes, of one stage or of two."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from stages_runs import Make, Process, complete, failing, line_of, run, run_all, write

from tessera.jobs import Job, PrepareDataset
from tessera.stages import StageJob, run_stage


@pytest.fixture
def jobs(job: Job) -> list[Job]:
    """Three that one process makes."""
    return [job.model_copy(update={"words": word}) for word in ("one", "two", "three")]


def test_jobs_beside_the_first_wait_for_their_own_processes_to_find_them_made(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def make(stage_job: StageJob[PrepareDataset]) -> None:
        seen.append((stage_job.job.words, len(stage_job.beside)))
        write(stage_job)

    run_all(jobs, make, monkeypatch)
    assert seen == [("one", 3), ("two", 3), ("three", 3)]
    assert complete(jobs) == ["one"]
    assert all({path.name for path in Path(job.folder).iterdir()} >= {"images.bin", "metrics.json"} for job in jobs)
    for job in jobs[1:]:
        run(job, lambda _: pytest.fail("made again"), monkeypatch)
        assert {path.name for path in Path("resume/datasets", job.name).iterdir()} == {".lock", "artifact.json", "log"}
        told = capsys.readouterr().err
        assert f"| made in the process of {jobs[0].name}: see logs/datasets/{jobs[0].name}.log\n" in told
    assert complete(jobs) == ["one", "two", "three"]
    manifests = [json.loads(Path(job.manifest).read_text()) for job in jobs]
    assert [manifest["name"] for manifest in manifests] == [job.name for job in jobs]
    assert manifests[0]["files"] == manifests[2]["files"]


def test_what_is_made_already_is_not_made_beside_another(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    run(jobs[1], write, monkeypatch)
    made = Path(jobs[1].manifest).read_text()
    run_all(jobs, failing("two"), monkeypatch)
    assert Path(jobs[1].manifest).read_text() == made


def test_a_job_beside_the_first_fails_alone_and_is_told_by_its_own_process(
    jobs: list[Job],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_all(jobs, failing("two"), monkeypatch)
    assert f"{jobs[1].name} failed: no images for two" in caplog.text
    assert "error: " not in capsys.readouterr().err
    run(jobs[2], lambda _: pytest.fail("made again"), monkeypatch)
    assert complete(jobs) == ["one", "three"]
    capsys.readouterr()
    with pytest.raises(SystemExit, match="1"):
        run(jobs[1], failing("two"), monkeypatch)
    assert capsys.readouterr().err == "error: no images for two\n"


def test_where_the_first_fails_the_others_are_complete(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Snakemake starts none of those that wait for it."""
    with pytest.raises(SystemExit, match="1"):
        run_all(jobs, failing("one", "three"), monkeypatch)
    assert capsys.readouterr().err == "error: no images for one\n"
    assert complete(jobs) == ["two"]


def test_a_job_that_another_process_makes_is_left_to_it(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch, start: Callable[[], Process], job: Job
) -> None:
    other = start()
    assert line_of(other) == "started"
    run_all([jobs[0], job, jobs[1]], write, monkeypatch)
    assert complete([jobs[0], job]) == ["one"]
    other.communicate("\n")
    assert complete([job]) == [job.words]


OTHER_STAGE = """
from tessera.jobs import EvaluateTarget

def evaluate_target(job):
    assert isinstance(job.settings, EvaluateTarget)
    assert job.beside == (job.settings,)  # those of its own stage
    (job.output / "seen").write_text(" ".join(job.kept))
"""


def run_both(job: Job, measuring: Job, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("evaluate_target.py").write_text(OTHER_STAGE)
    words = [one.model_dump_json() for one in (job, measuring)]
    monkeypatch.setattr(sys, "argv", [str(Path("prepare_dataset.py").resolve()), *words])
    run_stage(PrepareDataset, make)


def test_a_job_of_another_stage_is_made_by_the_function_of_its_script(
    job: Job, measuring: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(stage_job: StageJob[PrepareDataset]) -> None:
        stage_job.kept["left"] = 1
        write(stage_job)

    run_both(job, measuring, make, monkeypatch)
    assert Path(measuring.folder, "seen").read_text() == "left"
    assert complete([job, measuring]) == [job.words]


def test_a_job_whose_inputs_are_not_made_is_left_to_its_own_process(
    job: Job, measuring: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    measuring = measuring.model_copy(update={"inputs": {**measuring.inputs, "dataset": "artifacts/datasets/none-0"}})
    caplog.set_level("INFO", "tessera")
    run_both(job, measuring, write, monkeypatch)
    assert not Path(measuring.folder).exists()
    assert f"{measuring.name} waits for artifacts/datasets/none-0" in caplog.text
    assert complete([job]) == [job.words]


def test_seconds_are_those_of_all_epochs_also_where_an_earlier_process_began(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(stage_job: StageJob[PrepareDataset]) -> None:
        write(stage_job)
        stage_job.save_history([{"epoch": 1, "seconds": 3000.0}, {"epoch": 2, "seconds": 500.0}])

    run(job, make, monkeypatch)
    assert json.loads(Path(job.manifest).read_text())["seconds"] == 3500.0
