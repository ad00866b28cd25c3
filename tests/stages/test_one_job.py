"""A stage makes its job once, whole or not at all."""

import threading
from pathlib import Path

import pytest
from stages_runs import run, write

from tessera import heap, stages
from tessera.jobs import Job, PrepareDataset
from tessera.stages import StageJob


def test_a_stage_publishes_what_it_wrote_and_drops_its_state(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(stage_job: StageJob[PrepareDataset]) -> None:
        assert stage_job.settings.dataset.name == "digits_m"
        assert stage_job.trial == 0
        (stage_job.resume / "state.pt").write_text("half")
        write(stage_job)

    run(job, make, monkeypatch)
    assert {path.name for path in Path(job.folder).iterdir()} == {"artifact.json", "images.bin", "metrics.json"}
    assert {path.name for path in Path("resume/datasets", job.name).iterdir()} == {".lock", "artifact.json"}


@pytest.mark.skipif(heap._malloc_trim() is None, reason="the C library is not glibc")
def test_a_stage_gives_free_memory_back_while_it_runs(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(stage_job: StageJob[PrepareDataset]) -> None:
        assert "heap" in {thread.name for thread in threading.enumerate()}
        write(stage_job)

    run(job, make, monkeypatch)


def test_a_stage_whose_artifact_is_there_does_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    run(job, write, monkeypatch)
    Path(job.manifest).unlink()  # what Snakemake does with what it takes for incomplete
    run(job, lambda _: pytest.fail("made again"), monkeypatch)
    assert Path(job.manifest).exists()


def test_a_damaged_artifact_is_made_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    run(job, write, monkeypatch)
    Path(job.folder, "images.bin").write_text("IMAGES")
    run(job, write, monkeypatch)
    assert Path(job.folder, "images.bin").read_text() == "images"


def test_a_failed_stage_leaves_its_state_and_no_artifact(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(stage_job: StageJob[PrepareDataset]) -> None:
        (stage_job.resume / "state.pt").write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(job, fail, monkeypatch)
    assert not Path(job.folder).exists()
    assert Path("resume/datasets", job.name, "state", "state.pt").exists()


def test_threads_are_no_more_than_snakemake_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert [stages.num_threads(wanted) for wanted in (1, 2, 8)] == [1, 2, 2]
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert stages.num_threads(8) == 8


def test_what_dead_processes_left_of_a_state_is_removed_when_the_job_starts(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = Path("resume/datasets", job.name, "state")
    state.mkdir(parents=True)
    (state / ".state.pt.1.draft").write_text("half")
    (state / "state.pt").write_text("whole")

    def make(stage_job: StageJob[PrepareDataset]) -> None:
        assert [path.name for path in stage_job.resume.iterdir()] == ["state.pt"]
        write(stage_job)

    run(job, make, monkeypatch)
