"""Several projects over one artifacts/: what is good is never moved aside, and the first that publishes is kept."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tessera import artifacts
from tessera.jobs import Job

SECONDS = 0.7
PREPARE = """
import os, sys, time
from contextlib import suppress
from pathlib import Path
from tessera import artifacts
from tessera.errors import ArtifactError
from tessera.jobs import Job

job = Job.model_validate_json(sys.argv[1])
artifacts.git_state = lambda _: None
end = time.monotonic() + float(sys.argv[2])
"""
PUBLISH = """
rounds = 0
while time.monotonic() < end:
    draft = artifacts.resume_folder(job) / "output"
    draft.mkdir(parents=True)
    for number in range(20):
        (draft / f"{number}.bin").write_bytes(os.urandom(2000))  # no two are alike
    artifacts.publish(job, draft, 1.0, {"device": "cpu"})
    rounds += 1
print(rounds)
"""
# Whole artifacts come and go, as when a project is restored, or takes a damaged one away and makes it again.
SWAP = """
rounds = 0
while time.monotonic() < end:
    with suppress(OSError):  # a reader may have taken it, to look at it
        os.rename(job.folder, "away")
        time.sleep(0.002)
        os.rename("away", job.folder)
    time.sleep(0.05)
    rounds += 1
print(rounds)
"""
READ = """
rounds = 0
while time.monotonic() < end:
    try:
        artifacts.verify(Path(job.folder), whole=True)
        rounds += 1
    except ArtifactError as error:
        assert "not complete" in str(error) or "moved it away" in str(error), error  # away at each look
print(rounds)
"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(tmp_path)
    settings = {"dataset": {"name": "digits_m"}}
    return Job(stage="prepare_dataset", words="digits", version=1, trial=None, settings=settings, inputs={})


def make(job: Job, content: str) -> Path:
    draft = artifacts.resume_folder(job) / "output"
    draft.mkdir(parents=True)
    (draft / "images.bin").write_text(content)
    return artifacts.publish(job, draft, 1.0, {"device": "cpu"})


def at_once(job: Job, projects: dict[str, str]) -> dict[str, Path]:
    """Runs a program in each of these projects; all share artifacts/."""
    Path("artifacts").mkdir(exist_ok=True)
    folders, running = {}, {}
    for name, program in projects.items():
        folders[name] = Path(name)
        folders[name].mkdir()
        (folders[name] / "artifacts").symlink_to(Path("artifacts").resolve())
        command = [sys.executable, "-c", PREPARE + program, job.model_dump_json(), str(SECONDS)]
        environment = {**os.environ, "PYTHONPATH": str(Path(artifacts.__file__).parent.parent)}
        running[name] = subprocess.Popen(
            command, cwd=name, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    for name, process in running.items():
        told, wrong = process.communicate()
        assert process.returncode == 0, f"{name}: {wrong}"
        assert int(told) > 0
    return folders


def test_publishing_again_and_again_disturbs_no_reader(job: Job) -> None:
    make(job, "first")
    folders = at_once(job, {"one": PUBLISH, "two": PUBLISH, "reader": READ})
    assert (Path(job.folder) / "images.bin").read_text() == "first"
    assert not any((folder / "resume" / "damaged").exists() for folder in folders.values())
    assert [path.name for path in Path(job.folder).parent.iterdir()] == [job.name]


def test_what_comes_and_goes_is_looked_at_again(job: Job) -> None:
    make(job, "first")
    folders = at_once(job, {"swapper": SWAP, "reader": READ})
    assert not (folders["reader"] / "resume" / "damaged").exists()


def test_two_that_publish_first_at_once_agree(job: Job) -> None:
    at_once(job, {"one": PUBLISH, "two": PUBLISH, "three": PUBLISH})
    assert len(artifacts.verify(Path(job.folder), whole=True).files) == 20
    assert [path.name for path in Path(job.folder).parent.iterdir()] == [job.name]


def test_what_another_published_meanwhile_is_kept(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    folder = make(job, "first")
    manifest = (folder / "artifact.json").read_bytes()
    make(job, "second")
    assert "another process has made it meanwhile; that one is kept" in caplog.text
    assert (folder / "images.bin").read_text() == "first"
    assert (artifacts.resume_folder(job) / "artifact.json").read_bytes() == manifest
    (folder / "artifact.json").unlink()
    assert artifacts.restore(job)


def test_what_is_no_artifact_gives_way(job: Job) -> None:
    Path(job.folder).mkdir(parents=True)
    Path(job.folder, "half.bin").write_text("")
    make(job, "first")
    assert {path.name for path in Path(job.folder).iterdir()} == {"artifact.json", "images.bin"}


def test_what_is_whole_by_the_time_that_it_is_taken_is_put_back(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(job, "first")
    (folder / "images.bin").write_text("FIRST")

    monkeypatch.setattr(time, "sleep", lambda _: None)
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(source) == folder:
            (folder / "images.bin").write_text("first")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    assert artifacts.verify(folder)
    assert folder.exists()
    assert not Path("resume/damaged").exists()


def test_what_was_half_there_is_looked_at_again_before_it_is_touched(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(job, "first")
    (folder / "images.bin").write_text("fir")
    monkeypatch.setattr(time, "sleep", lambda _: (folder / "images.bin").write_text("first"))
    monkeypatch.setattr(os, "replace", lambda *_: pytest.fail("moved"))
    assert artifacts.verify(folder)


def test_whoever_is_quicker_by_a_moment_is_kept(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(job, "first")
    folder.rename("first")
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target) == folder and Path("first").exists():
            Path("first").rename(folder)
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    make(job, "second")
    assert (folder / "images.bin").read_text() == "first"
    assert [path.name for path in folder.parent.iterdir()] == [job.name]
    assert not (artifacts.resume_folder(job) / "output").exists()
