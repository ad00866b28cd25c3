"""A job in a folder of its own, and processes that are at work on it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tessera import stages
from tessera.jobs import Job

sys.path.insert(0, str(Path(__file__).parent))  # of stages_runs

Process = subprocess.Popen[str]

SLOW_STAGE = """
import os, sys, time
from tessera.stages import run_stage
from tessera.jobs import PrepareDataset

def make(job):
    with open("journal", "a") as journal:
        journal.write(f"{os.getpid()} starts\\n")
    print("started", flush=True)
    sys.stdin.readline()
    (job.output / "images.bin").write_text("done")
    with open("journal", "a") as journal:
        journal.write(f"{os.getpid()} ends\\n")

run_stage(PrepareDataset, make)
assert "torch" not in sys.modules
"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    settings = {"dataset": {"name": "digits_m"}}
    return Job(stage="prepare_dataset", words="digits", version=1, trial=None, settings=settings, inputs={})


@pytest.fixture
def start(job: Job) -> Iterator[Callable[[], Process]]:
    """Starts a process that runs a stage until it reads a line."""
    package = str(Path(stages.__file__).parent.parent)
    with ExitStack() as stack:

        def run(log: Any = subprocess.PIPE) -> Process:
            process = subprocess.Popen(
                [sys.executable, "-c", SLOW_STAGE, job.model_dump_json()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": package},
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield run


@pytest.fixture
def measuring(job: Job) -> Job:
    """Measures what `job` made, as far as this file is concerned."""
    settings = {"protocol": {"name": "knn"}, "label_fraction": 1.0}
    return Job(
        stage="evaluate_target", words="knn", version=1, trial=0, settings=settings, inputs={"source": job.folder}
    )
