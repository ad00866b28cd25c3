"""kill -9, of Snakemake and of a training: nothing is lost, nothing is done twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tessera.study.files import read_yaml
from tessera.study.jobs import Job
from tessera.study.plan import make_plan

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]

TRAINING = """
title: Does a small encoder learn to reconstruct?
scale: smoke
trials: 1
base:
  source.dataset+target.dataset: {name: image_folder, path: shades, image_size: 32}
  source: {encoder: resnet8, tasks: [reconstruction], method: single, epochs: 6, iterations: 12}
  target: {protocol: knn}
"""


@pytest.fixture
def start(environment: Callable[..., dict[str, str]]) -> Iterator[Start]:
    """Starts a command whose whole session ends with the test."""
    with ExitStack() as stack:

        def call(*words: str, at: Path) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [str(Path(sys.executable).parent / words[0]), *words[1:]],
                cwd=at,
                env=environment(),
                start_new_session=True,
                stderr=subprocess.STDOUT,
                stdout=subprocess.DEVNULL,
                text=True,
            )
            stack.callback(end, process)
            return process

        yield call


def end(process: "subprocess.Popen[str]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what the killed process left behind
    process.wait()


def wait_for(condition: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    while not condition():
        assert process.poll() is None, "the process ended before it was killed"
        time.sleep(0.02)


def job_of(project: Path, stage: str) -> Job:
    plan = make_plan(read_yaml(project / "config" / "config.yaml", "config"), project)
    return next(job for job in plan.jobs.values() if job.stage == stage)


def results(folder: Path) -> dict[str, str]:
    """Checksums of what a training learned; times are no part of it."""
    files = json.loads((folder / "artifact.json").read_text())["files"]
    return {name: about["sha256"] for name, about in files.items() if name.endswith(".safetensors")}


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_with_the_same_bytes(run: Run, start: Start, project: Path) -> None:
    (project / "config" / "studies" / "tiny.yaml").write_text(TRAINING)
    prepare, train = job_of(project, "prepare_dataset"), job_of(project, "pretrain_source")
    script = "workflow/scripts/pretrain_source.py"
    run("python", "workflow/scripts/prepare_dataset.py", prepare.model_dump_json(), at=project)
    run("python", script, train.model_dump_json(), at=project)
    uninterrupted = results(project / train.folder)
    assert set(uninterrupted) == {"encoder.safetensors", "heads.safetensors"}
    (project / train.folder).rename(project / "uninterrupted")

    (project / "resume" / "source" / train.name / "artifact.json").unlink()
    state = project / "resume" / "source" / train.name / "state" / "state.pt"
    process = start("python", script, train.model_dump_json(), at=project)
    wait_for(state.exists, process)
    process.kill()
    process.wait()
    assert not (project / train.folder).exists()
    log = run("python", script, train.model_dump_json(), at=project).stderr
    assert "going on after epoch" in log
    assert results(project / train.folder) == uninterrupted


@pytest.mark.slow
def test_after_a_killed_snakemake_the_next_run_does_the_rest(run: Run, start: Start, project: Path) -> None:
    process = start("snakemake", "--cores", "2", at=project)
    wait_for(lambda: list(project.glob("resume/source/*/.pid")), process)
    process.kill()
    process.wait()
    log = run("snakemake", "--cores", "2", at=project)
    assert "100%" in log.stdout + log.stderr
    assert (project / "results" / "tiny" / "table.md").exists()
    waited = [path.read_text() for path in project.glob("logs/source/*.log") if "is at work" in path.read_text()]
    assert waited
    for text in waited:
        *earlier, last = text.splitlines()
        assert "is complete already" in last
        assert all(line.startswith("| ") for line in earlier if "done in" in line)
        assert any("pretrain_source: " in line for line in earlier)  # the words of the process that was waited for
