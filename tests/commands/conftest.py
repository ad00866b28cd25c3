"""A project on disk whose study a test edits, and the artifacts that jobs would leave, without the jobs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tessera.__main__ import main
from tessera.artifacts import code_hash, resume_folder
from tessera.files import replace_text
from tessera.jobs import Job
from tessera.study.plan import Plan, make_plan

REPOSITORY = Path(__file__).parents[2]
STUDY: dict[str, Any] = {
    "title": "Which?",
    "base": {
        "source": {"dataset": "digits_m", "encoder": "resnet8", "tasks": ["jigsaw", "colorization"]},
        "transfer": {"method": "soft_targets"},
        "target": {"dataset": "digits_m", "label_fraction": 0.1},
    },
    "grid": {
        "rows": [
            {"label": "together", "source.method": "equal"},
            {"label": "apart", "source.method": "tte"},
        ],
        "columns": {"target.protocol": ["knn", "classification"]},
    },
}


class Edited:
    """A study that is edited, and what is made of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.study: dict[str, Any] = json.loads(json.dumps(STUDY))
        self.config: dict[str, Any] = {"studies": ["which"], "scale": "smoke", "trials": 2, "device": "cpu"}

    def write(self) -> Plan:
        """The files as they are now, and their plan."""
        (self.root / "config" / "studies" / "which.yaml").write_text(yaml.safe_dump(self.study, sort_keys=False))
        (self.root / "config" / "config.yaml").write_text(yaml.safe_dump(self.config))
        return make_plan(self.config, self.root)

    def set(self, path: str, value: Any) -> None:
        """One key of the study: `base/source/encoder`."""
        holder: Any = self.study
        *words, last = path.split("/")
        for word in words:
            holder = holder[int(word) if isinstance(holder, list) else word]
        holder[int(last) if isinstance(holder, list) else last] = value

    def make_one(self, job: Job, **about: Any) -> None:
        """The artifact of one job."""
        make(job, **about)

    def make(self, plan: Plan | None = None, **about: Any) -> Plan:
        """The artifacts and the table of the study as it is."""
        plan = self.write() if plan is None else plan
        for job in plan.jobs.values():
            make(job, **about)
        summary = plan.studies["which"]
        replace_text(Path(summary.marker), "{}")
        cells = [{"row": cell.row, "column": cell.column, "artifacts": cell.artifacts} for cell in summary.cells]
        table = {"scale": summary.scale, "trials": summary.trials, "title": summary.title, "rows": summary.rows}
        replace_text(Path("results/which/table.json"), json.dumps({**table, "cells": cells}))
        return plan

    def make_job(self, job: Job) -> None:
        """The artifact of one job."""
        make(job)


def make(job: Job, seconds: float = 90.0, finished: str = "2026-11-20T10:00:00+00:00", **about: Any) -> None:
    """The artifact of a job, its manifest alone, and the copy that its job keeps."""
    manifest = {
        "kind": job.stage,
        "name": job.name,
        "key": job.key,
        "version": job.version,
        "trial": job.trial,
        "settings": job.settings,
        "inputs": job.inputs,
        "code": code_hash(job.stage),
        "hardware": {"processor": "a processor", "device": "cpu"},
        "seconds": seconds,
        "finished": finished,
        **about,
    }
    Path(job.folder).mkdir(parents=True, exist_ok=True)
    resume_folder(job).mkdir(parents=True, exist_ok=True)
    for path in (Path(job.manifest), resume_folder(job) / "artifact.json"):
        path.write_text(json.dumps(manifest))


Tessera = Callable[..., str]


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edited:
    monkeypatch.delenv("TESSERA_DATA", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config" / "studies").mkdir(parents=True)
    for kind in ("scales", "methods"):
        (tmp_path / "config" / kind).symlink_to(REPOSITORY / "config" / kind)
    return Edited(tmp_path)


@pytest.fixture
def tessera(capsys: pytest.CaptureFixture[str]) -> Tessera:
    """Runs a command that succeeds; what it said, every line of which fits a terminal."""

    def call(*words: str) -> str:
        assert main(words) == 0
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= 80
        return text

    return call
