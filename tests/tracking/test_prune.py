"""What no study needs is named before it is removed, and nothing else is."""

from pathlib import Path

import pytest
from filelock import FileLock

from tessera.__main__ import main
from tessera.study.config import Config
from tessera.study.jobs import Job, SummarizeStudy
from tessera.study.plan import Plan
from tessera.tracking.prune import describe, find_waste, remove

NEEDED = Job(stage="pretrain_source", words="needed", version=1, trial=0, settings={}, inputs={})
OTHER = Job(stage="pretrain_source", words="other", version=1, trial=0, settings={}, inputs={})


def write(folder: Path, size: int = 1000) -> Path:
    folder.mkdir(parents=True)
    (folder / "encoder.safetensors").write_bytes(b"x" * size)
    (folder / "artifact.json").write_text("{}")
    return folder


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Study `chosen` needs one artifact; another study of the same folder needs the other."""
    summaries = [
        SummarizeStudy(
            name=name,
            title="t",
            description="",
            scale="smoke",
            trials=1,
            rows=(),
            columns=(),
            cells=(),
            artifacts=(job.folder,),
        )
        for name, job in (("chosen", NEEDED), ("not_chosen", OTHER))
    ]
    jobs = {job.folder: job for job in (NEEDED, OTHER)}
    return Plan(Config(studies=["chosen"]), tmp_path, jobs, {"chosen": summaries[0]}, {"not_chosen": summaries[1]})


def test_only_what_the_chosen_studies_need_stays(plan: Plan, tmp_path: Path) -> None:
    write(tmp_path / NEEDED.folder)
    write(tmp_path / OTHER.folder, 2_000_000)
    for job in (NEEDED, OTHER):
        (tmp_path / "resume" / "source" / job.name).mkdir(parents=True)
    write(tmp_path / "resume" / "damaged" / "old.1")
    waste = find_waste(plan)
    assert [(item.folder.name, item.reason) for item in waste] == [
        (OTHER.name, "artifact"),
        (OTHER.name, "state"),
        ("old.1", "damaged"),
    ]
    assert "3 folders, 2.0 MB" in describe(waste)
    remove(waste)
    assert find_waste(plan) == []
    assert (tmp_path / NEEDED.folder / "encoder.safetensors").exists()
    assert (tmp_path / "resume" / "source" / NEEDED.name).exists()


def test_the_state_of_an_unfinished_training_stays_while_it_is_needed(plan: Plan, tmp_path: Path) -> None:
    state = tmp_path / "resume" / "source" / NEEDED.name / "state"
    state.mkdir(parents=True)
    assert find_waste(plan) == []
    write(tmp_path / NEEDED.folder)
    assert [item.reason for item in find_waste(plan)] == ["state"]


def test_a_job_that_runs_keeps_its_state(plan: Plan, tmp_path: Path) -> None:
    folder = tmp_path / "resume" / "source" / OTHER.name
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        assert find_waste(plan) == []
    assert [item.folder for item in find_waste(plan)] == [folder]


def test_a_mistake_in_the_configuration_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("studies: [a]\nscale: smoke")
    (tmp_path / "config" / "more.yaml").write_text("device: gpu")
    assert main(["prune", "--configfile", "config/more.yaml", "--config", "device=tpu"]) == 1
    assert "`device`: should be 'auto', 'cpu' or 'cuda', but is 'tpu'" in capsys.readouterr().err
    assert main(["sync", "--config", "device"]) == 1
    assert "`device` should be KEY=VALUE; if it is a study, name it before `--config`" in capsys.readouterr().err
