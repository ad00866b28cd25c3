"""What no study needs is named before it is removed, and nothing else is."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from filelock import FileLock

from tessera.__main__ import main
from tessera.jobs import Job, SummarizeStudy
from tessera.states import state_of
from tessera.study.config import Config
from tessera.study.plan import Plan
from tessera.tracking.prune import Waste, describe, find_waste, needed_by_chosen, remove, without_states

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


def waste_of(plan: Plan) -> list[Waste]:
    return find_waste(plan.root, needed_by_chosen(plan).folders)


def remove_all(plan: Plan, waste: list[Waste]) -> list[str]:
    return remove(plan.root, waste, needed_by_chosen(plan).folders)


def with_long_training(plan: Plan) -> Job:
    """One of five epochs, which the chosen study needs, and whose rate falls in the last."""
    optimizer = {"schedule": "wsd", "decay_epochs": 1}
    settings = {"source": {"epochs": 5, "optimizer": optimizer}}
    job = Job(stage="pretrain_source", words="long", version=1, trial=0, settings=settings, inputs={})
    plan.jobs[job.folder] = job
    chosen = plan.studies["chosen"]
    plan.studies["chosen"] = chosen.model_copy(update={"artifacts": (*chosen.artifacts, job.folder)})
    return job


def test_only_what_the_chosen_studies_need_stays(plan: Plan, tmp_path: Path) -> None:
    write(tmp_path / NEEDED.folder)
    write(tmp_path / OTHER.folder, 2_000_000)
    for job in (NEEDED, OTHER):
        state = tmp_path / "resume" / "source" / job.name
        state.mkdir(parents=True)
        (state / "job.json").write_text("{}")
    write(tmp_path / "resume" / "damaged" / "old.1")
    waste = waste_of(plan)
    assert [(item.folder.name, item.reason) for item in waste] == [
        (OTHER.name, "artifact"),
        ("old.1", "damaged"),
        (OTHER.name, "state"),
    ]
    assert describe(waste).splitlines() == [
        "3 folders, 2.0 MB:",
        f"    2.0 MB  {tmp_path / OTHER.folder}",
        f"    1.0 kB  {tmp_path}/resume/damaged/old.1  (damaged, set aside)",
        f"   2 bytes  {tmp_path}/resume/source/{OTHER.name}  (state of a job that is done or not needed)",
    ]
    assert describe(waste, 1).splitlines()[2] == "    1.0 kB  in 2 more (--dry-run names all)"
    assert remove_all(plan, waste) == []
    assert waste_of(plan) == []
    assert not (tmp_path / OTHER.folder).exists()
    assert (tmp_path / NEEDED.folder / "encoder.safetensors").exists()
    assert (tmp_path / "resume" / "source" / NEEDED.name / "job.json").exists()


def test_the_state_of_an_unfinished_training_stays_while_it_is_needed(plan: Plan, tmp_path: Path) -> None:
    folder = tmp_path / "resume" / "source" / NEEDED.name
    (folder / "state").mkdir(parents=True)
    (folder / "artifact.json").write_text("{}")
    assert waste_of(plan) == []
    write(tmp_path / NEEDED.folder)
    waste = waste_of(plan)
    assert [item.reason for item in waste] == ["state"]
    assert remove_all(plan, waste) == []
    assert not (folder / "state").exists()
    assert (folder / "artifact.json").exists()  # what its job keeps


def test_a_job_that_runs_keeps_its_state_and_its_inputs(plan: Plan, tmp_path: Path) -> None:
    folder = tmp_path / "resume" / "source" / OTHER.name
    (folder / "state").mkdir(parents=True)
    (folder / ".pid").write_text("1")
    (folder / "job.json").write_text('{"inputs": {"dataset": "artifacts/datasets/theirs"}}')
    theirs = write(tmp_path / "artifacts/datasets/theirs")
    with FileLock(folder / ".lock"):
        assert waste_of(plan) == []
    assert {item.folder for item in waste_of(plan)} == {folder, theirs}


class Late(NamedTuple):
    """What happens between the question and the answer, what is said, and what is still there."""

    happens: Callable[[Path], None]
    said: str


def _begins(folder: Path) -> None:
    """A job that has run before goes on: it writes its state."""
    (folder / "state" / "state.pt").write_bytes(b"2" * 2000)


LATE = {
    "a job goes on": Late(_begins, "stays, for it has changed since"),
    "a job wrote a draft": Late(lambda folder: write(folder / "output") and None, "stays, for it has changed since"),
    "nothing": Late(lambda folder: None, ""),
}


@pytest.mark.parametrize("what", LATE)
def test_what_has_changed_since_it_was_listed_stays(what: str, plan: Plan, tmp_path: Path) -> None:
    folder = tmp_path / "resume" / "source" / OTHER.name
    (folder / "state").mkdir(parents=True)
    (folder / "state" / "state.pt").write_bytes(b"1" * 1000)
    waste = waste_of(plan)
    assert [item.folder for item in waste] == [folder]
    LATE[what].happens(folder)
    stayed = remove_all(plan, waste)
    assert stayed == ([f"resume/source/{OTHER.name}: {LATE[what].said}"] if LATE[what].said else [])
    assert (folder / "state").exists() == bool(LATE[what].said)


def test_a_job_that_started_since_is_left_alone(plan: Plan, tmp_path: Path) -> None:
    """Its artifact, if it had one, and its state."""
    write(tmp_path / OTHER.folder)
    folder = tmp_path / "resume" / "source" / OTHER.name
    (folder / "state").mkdir(parents=True)
    waste = waste_of(plan)
    assert len(waste) == 2
    with FileLock(folder / ".lock"):
        stayed = remove_all(plan, waste)
    assert stayed == [f"{item.folder.relative_to(tmp_path)}: stays, for its job runs now" for item in waste]
    assert (tmp_path / OTHER.folder / "artifact.json").exists()


def test_what_is_needed_by_now_stays(plan: Plan, tmp_path: Path) -> None:
    write(tmp_path / OTHER.folder)
    waste = waste_of(plan)
    assert remove(tmp_path, waste, {OTHER.folder}) == [f"{OTHER.folder}: stays, for it is needed by now"]
    assert (tmp_path / OTHER.folder).exists()


def test_a_job_that_waits_for_the_lock_finds_its_folder(plan: Plan, tmp_path: Path) -> None:
    """It has begun while its state was being removed: it starts anew."""
    folder = tmp_path / "resume" / "source" / OTHER.name
    (folder / "state").mkdir(parents=True)
    lock = FileLock(folder / ".lock")
    with lock:
        pass
    assert remove_all(plan, waste_of(plan)) == []
    with FileLock(folder / ".lock", timeout=0):  # as it would: the folder itself was made before
        assert [path.name for path in folder.iterdir()] == [".lock"]


def test_links_are_removed_and_what_they_lead_to_stays(plan: Plan, tmp_path: Path) -> None:
    """artifacts/ on another disk, and a single artifact there."""
    disk = tmp_path / "disk"
    write(disk / "source" / OTHER.name)
    (tmp_path / "artifacts").symlink_to(disk)
    (disk / "datasets").mkdir()
    elsewhere = write(tmp_path / "elsewhere")
    (disk / "datasets" / "linked").symlink_to(elsewhere)
    (tmp_path / "resume" / "source").mkdir(parents=True)
    state = write(tmp_path / "state")
    (tmp_path / "resume" / "source" / "linked").symlink_to(state)
    waste = waste_of(plan)
    assert "   0 bytes  " in describe(waste)
    assert "/artifacts/datasets/linked  (a link: what it leads to stays)" in describe(waste)
    assert remove_all(plan, waste) == []
    assert not (disk / "source" / OTHER.name).exists()
    assert not (disk / "datasets" / "linked").is_symlink()
    assert not (tmp_path / "resume" / "source" / "linked").is_symlink()
    assert (elsewhere / "artifact.json").exists()
    assert (state / "artifact.json").exists()


def test_what_cannot_be_removed_is_told(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / OTHER.folder)
    waste = waste_of(plan)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    assert remove_all(plan, waste) == [f"{OTHER.folder}: cannot be removed (Permission denied)"]
    assert not (tmp_path / OTHER.folder / "artifact.json").exists()  # half an artifact is none


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


def test_states_go_first_and_stay_while_a_study_needs_their_training(plan: Plan, tmp_path: Path) -> None:
    job = with_long_training(plan)
    mine, shorter = state_of(job, 4), state_of(job, 2)
    write(tmp_path / job.folder)
    write(tmp_path / OTHER.folder, 5000)
    write(tmp_path / mine.folder, 10)
    write(tmp_path / shorter.folder, 20)
    assert [(item.folder.name, item.reason) for item in waste_of(plan)] == [
        (shorter.name, "extendable"), (OTHER.name, "artifact"),
    ]  # fmt: skip
    assert "(state that a longer training would go on from)" in describe(waste_of(plan)).splitlines()[1]
    needed = without_states(needed_by_chosen(plan).folders)
    waste = find_waste(plan.root, needed)
    assert [item.folder.name for item in waste] == [shorter.name, mine.name, OTHER.name]
    assert remove(plan.root, waste, needed) == []
    assert sorted(path.name for path in tmp_path.glob("artifacts/*/*")) == [job.name]


def test_a_state_stays_while_a_training_is_to_go_on_from_it(plan: Plan, tmp_path: Path) -> None:
    job = with_long_training(plan)
    shorter, too_long = state_of(job, 2), state_of(job, 5)
    write(tmp_path / shorter.folder)
    write(tmp_path / too_long.folder)
    assert [item.folder.name for item in waste_of(plan)] == [too_long.name]
    write(tmp_path / job.folder)
    assert [item.folder.name for item in waste_of(plan)] == [shorter.name, too_long.name]
