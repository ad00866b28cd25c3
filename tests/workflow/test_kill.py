"""Kills and stops, of Snakemake and of a training: nothing is lost, nothing is done twice, and a stop is one line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tessera.jobs import Job
from tessera.study.files import read_yaml
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

        def call(*words: str, at: Path, log: str = os.devnull) -> subprocess.Popen[str]:
            output = stack.enter_context((at / log).open("w"))
            process = subprocess.Popen(
                [str(Path(sys.executable).parent / words[0]), *words[1:]],
                cwd=at,
                env=environment(),
                start_new_session=True,
                stderr=subprocess.STDOUT,
                stdout=output,
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


def waited_for(project: Path) -> list[str]:
    """Logs of the trainings whose job waits, or has waited, for a process that was at work already."""
    logs = [path.read_text() for path in project.glob("logs/source/*.log")]
    return [text for text in logs if "is at work" in text]


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
def test_after_a_killed_snakemake_the_next_run_does_the_rest(start: Start, project: Path) -> None:
    process = start("snakemake", "--cores", "2", at=project)
    wait_for(lambda: list(project.glob("resume/source/*/log")), process)
    kept = project.glob("resume/source/*/log")  # the next run deletes the words of those that keep them not yet
    left = [int(path.with_name(".pid").read_text()) for path in kept]
    for pid in left:
        os.kill(pid, signal.SIGSTOP)  # else it may have ended before the next run comes to it
    process.kill()
    process.wait()
    again = start("snakemake", "--cores", "2", at=project, log="again.log")
    wait_for(lambda: waited_for(project), again)
    for pid in left:
        os.kill(pid, signal.SIGCONT)
    assert again.wait() == 0, (project / "again.log").read_text()
    assert "100%" in (project / "again.log").read_text()
    assert (project / "results" / "tiny" / "table.md").exists()
    for text in waited_for(project):
        lines = text.splitlines()
        assert any("is complete already" in line for line in lines)
        assert all(line.startswith("| ") for line in lines if "done in" in line)
        assert any("pretrain_source: " in line for line in lines)  # the words of the process that was waited for


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_training_says_where_it_goes_on_and_ends_with_the_same_bytes(
    run: Run, start: Start, project: Path, number: signal.Signals, code: int
) -> None:
    (project / "config" / "studies" / "tiny.yaml").write_text(TRAINING)
    prepare, train = job_of(project, "prepare_dataset"), job_of(project, "pretrain_source")
    script = "workflow/scripts/pretrain_source.py"
    run("python", "workflow/scripts/prepare_dataset.py", prepare.model_dump_json(), at=project)
    folder = project / "resume" / "source" / train.name
    process = start("python", script, train.model_dump_json(), at=project, log="stopped.log")
    wait_for((folder / "state" / "state.pt").exists, process)
    process.send_signal(number)
    assert process.wait() == code
    said = (project / "stopped.log").read_text()
    words = re.search(r"\nstopped: the next run goes on after (epoch \d) of 6\n$", said)
    assert words is not None, said
    assert "Traceback" not in said
    assert json.loads((folder / "progress.json").read_text())["error"].startswith("stopped: ")
    assert {path.name for path in (folder / "state").iterdir()} == {"state.pt"}

    log = run("python", script, train.model_dump_json(), at=project).stderr
    assert f"going on after {words[1]} of 6" in log
    stopped = results(project / train.folder)
    (project / train.folder).rename(project / "stopped")
    (folder / "artifact.json").unlink()
    run("python", script, train.model_dump_json(), at=project)
    assert results(project / train.folder) == stopped


@pytest.mark.slow
def test_ctrl_c_is_a_few_lines_and_the_next_run_does_the_rest(run: Run, start: Start, project: Path) -> None:
    (project / "config" / "studies" / "tiny.yaml").write_text(TRAINING)
    train = job_of(project, "pretrain_source")
    process = start("snakemake", "--cores", "2", at=project, log="stopped.log")
    wait_for((project / "resume" / "source" / train.name / "state" / "state.pt").exists, process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() != 0
    said = (project / "stopped.log").read_text()
    assert "Traceback" not in said
    assert "failed" not in said
    log = (project / "logs" / "source" / f"{train.name}.log").read_text()
    assert re.search(r"\nstopped: the next run goes on after epoch \d of 6\n$", log), log
    assert "Traceback" not in log
    again = run("snakemake", "--cores", "2", at=project)
    assert "100%" in again.stdout + again.stderr
    assert "going on after epoch" in (project / "logs" / "source" / f"{train.name}.log").read_text()
