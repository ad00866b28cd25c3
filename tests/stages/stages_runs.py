"""Runs a stage in this process, and what it makes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tessera.errors import DataError
from tessera.jobs import Job, PrepareDataset
from tessera.stages import StageJob, run_stage

Make = Callable[[StageJob[PrepareDataset]], None]
Process = subprocess.Popen[str]


def line_of(process: Process) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def log_line_of(process: Process) -> str:
    assert process.stderr is not None
    return process.stderr.readline().strip()


def run(job: Job, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["script", job.model_dump_json()])
    run_stage(PrepareDataset, make)


def write(stage_job: StageJob[PrepareDataset]) -> None:
    (stage_job.output / "images.bin").write_text("images")
    stage_job.save_metrics({"num_train": 3.0})


def run_all(jobs: list[Job], make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["script", *(job.model_dump_json() for job in jobs)])
    run_stage(PrepareDataset, make)


def failing(*words: str) -> Make:
    def make(stage_job: StageJob[PrepareDataset]) -> None:
        if stage_job.job.words in words:
            raise DataError(f"no images for {stage_job.job.words}")
        (stage_job.resume / "state.pt").write_text("half")
        write(stage_job)

    return make


def complete(jobs: list[Job]) -> list[str]:
    return [job.words for job in jobs if Path(job.manifest).exists()]
