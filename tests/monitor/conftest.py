"""A study of two trainings and what they need, on disk as the stages leave it, without the stages."""

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tessera.artifacts import resume_folder
from tessera.jobs import Cell, Job, Run, SummarizeStudy
from tessera.protocols.options import ACCURACY
from tessera.study.config import Config
from tessera.study.plan import Plan
from tessera.told import Told

SOURCE = {"encoder": {"name": "resnet8"}, "dataset": {"image_size": 32}, "batch_size": 10, "tasks": [{"name": "a"}]}
RUN = Run(studies=("small",))


def training(trial: int, dataset: Job, epochs: int = 10, **source: Any) -> Job:
    """A pretraining of `epochs` epochs, of 10 steps of 10 images."""
    settings = {"source": {**SOURCE, "epochs": epochs, "iterations": 10, **source}}
    words = f"digits.resnet8.a.t{trial}"
    inputs = {"dataset": dataset.folder}
    return Job(stage="pretrain_source", words=words, version=1, trial=trial, settings=settings, inputs=inputs, run=RUN)


@pytest.fixture
def jobs() -> dict[str, Job]:
    """A dataset, two trainings from it, and what measures the first."""
    dataset = Job(
        stage="prepare_dataset", words="digits", version=1, trial=None, settings={"dataset": {}}, inputs={}, run=RUN
    )
    first, second = training(0, dataset), training(1, dataset)
    measured = Job(
        stage="evaluate_target",
        words="digits.knn.t0",
        version=1,
        trial=0,
        settings={"protocol": {"name": "knn"}},
        inputs={"dataset": dataset.folder, "source": first.folder},
        run=RUN,
    )
    return {"dataset": dataset, "first": first, "second": second, "measured": measured}


@pytest.fixture
def plan(jobs: dict[str, Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    folders = tuple(job.folder for job in jobs.values())
    cell = Cell(
        row="r",
        column="c",
        protocol="knn",
        figure=ACCURACY,
        artifacts=(jobs["measured"].folder,),
    )
    summary = SummarizeStudy(
        name="small",
        title="A small study",
        description="",
        scale="smoke",
        trials=1,
        rows=("r",),
        columns=("c",),
        cells=(cell,),
        artifacts=folders,
    )
    return Plan(Config(studies=["small"]), tmp_path, {job.folder: job for job in jobs.values()}, {"small": summary})


class Disk:
    """Leaves what jobs leave."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def make(self, job: Job, seconds: float = 30.0, **hardware: str) -> Path:
        """A complete artifact."""
        manifest = self.root / job.manifest
        manifest.parent.mkdir(parents=True, exist_ok=True)
        about = {"kind": job.stage, "name": job.name, "settings": job.settings, "inputs": job.inputs}
        ran_on = {"processor": "this", "device": "cpu", **hardware}
        manifest.write_text(json.dumps({**about, "seconds": seconds, "hardware": ran_on}))
        return manifest

    def begin(self, job: Job, pid: int | None = None, **told: Any) -> None:
        """A job at work in this process, or in another."""
        folder = self.root / resume_folder(job)
        folder.mkdir(parents=True, exist_ok=True)
        number = os.getpid() if pid is None else pid
        (folder / ".pid").write_text(str(number))
        told = {"host": platform.node(), "started": time.time(), **told}
        (folder / "progress.json").write_text(json.dumps(asdict(Told(pid=number, **told))))

    def end(self, job: Job, error: str = "") -> None:
        """The process is gone; with an error, it said so."""
        folder = self.root / resume_folder(job)
        (folder / ".pid").unlink()
        told = json.loads((folder / "progress.json").read_text())
        (folder / "progress.json").write_text(json.dumps({**told, "error": error}))

    def log(self, job: Job, text: str) -> Path:
        """What its log says."""
        path = self.root / "logs" / resume_folder(job).relative_to("resume").with_name(f"{job.name}.log")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    # This process's command line names no job: whoever asks is told that it does.
    from tessera.monitor import standing

    lives: Callable[..., bool] = standing._lives
    own = Path("/proc/self/cmdline")
    command = own.read_text() if own.exists() else ""
    monkeypatch.setattr(standing, "_lives", lambda folder, *words: lives(folder, *words, command))
    return Disk(tmp_path)
