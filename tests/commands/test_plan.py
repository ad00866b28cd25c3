"""`tessera plan`: what would run, said quickly, and nothing started."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tessera.__main__ import main
from tessera.jobs import Job
from tessera.provenance import hardware
from tessera.study.plan import Plan, make_plan

REPOSITORY = Path(__file__).parents[2]
STUDY = {
    "title": "A small study",
    "base": {
        "source": {"dataset": "digits_m", "encoder": "resnet8", "tasks": ["jigsaw"], "method": "single"},
        "target": {"dataset": "digits_m", "protocol": "knn"},
    },
    "grid": {
        "columns": {"target.dataset": ["digits_m", {"name": "image_folder", "path": "nowhere", "image_size": 32}]}
    },
}

Say = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The plan of a study in two trials, half of whose cells have no images."""
    monkeypatch.delenv("TESSERA_DATA", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "config"
    (config / "studies").mkdir(parents=True)
    for kind in ("scales", "methods"):
        (config / kind).symlink_to(REPOSITORY / "config" / kind)
    (config / "studies" / "small.yaml").write_text(yaml.safe_dump(STUDY))
    settings = {"studies": ["small"], "scale": "smoke", "trials": 2}
    (config / "config.yaml").write_text(yaml.safe_dump(settings))
    return make_plan(settings, tmp_path)


@pytest.fixture
def say(project: Plan, capsys: pytest.CaptureFixture[str]) -> Say:
    def call(*words: str) -> str:
        assert main(["plan", *words]) == 0
        return capsys.readouterr().out

    return call


def make(job: Job, seconds: float) -> None:
    """The artifact of a job that ran here."""
    about = {"kind": job.stage, "name": job.name, "settings": job.settings, "inputs": job.inputs, "seconds": seconds}
    Path(job.folder).mkdir(parents=True)
    machine = {"processor": hardware()["processor"], "device": "cpu"}
    Path(job.manifest).write_text(json.dumps({**about, "hardware": machine}))


def job_of(plan: Plan, stage: str, trial: int | None) -> Job:
    return next(job for job in plan.jobs.values() if (job.stage, job.trial) == (stage, trial))


def test_before_the_first_run_times_are_unknown(say: Say) -> None:
    text = say()
    assert "Study: small (scale smoke, 2 trials)" in text
    assert "7 jobs: 0 made already, 7 to do; how long is unknown: nothing has run here yet that says it" in text
    assert "Left out:\n  small: column" in text
    assert "nowhere" in text


def test_jobs_are_counted_and_estimated(say: Say, project: Plan) -> None:
    make(job_of(project, "prepare_dataset", None), 100.0)
    make(job_of(project, "pretrain_source", 0), 7200.0)
    text = say()
    assert "7 jobs: 2 made already, 5 to do; about 2.1 h of device time\n" in text
    assert "How sure: 5 min of it (3 jobs) a rough guess from jobs of other kinds\n" in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith(("pre", "eval", "gen"))}
    assert rows["prepare_dataset"] == ["1", "1", "0"]
    assert rows["pretrain_source"] == ["2", "1", "1", "2.0", "h", "1", "earlier", "job"]
    assert " ".join(rows["evaluate_target"]) == "2 0 2 3 min 1 earlier job of other kinds"
    listed = say("--jobs")
    assert all(job.folder in listed for job in project.jobs.values())
    second = job_of(project, "pretrain_source", 1)
    assert any(line.split() == ["to", "do", "2.0", "h", second.folder] for line in listed.splitlines())


def test_a_study_that_is_not_there_is_one_line(project: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("plan", "watch"):
        assert main([command, "smal"]) == 1
        assert capsys.readouterr().err == "error: no study is named 'smal'. Did you mean 'small'? Known: small.\n"


def test_it_never_imports_torch_and_starts_nothing(project: Plan) -> None:
    code = "import sys; from tessera.__main__ import main; main(['plan']); main(['watch', '--once'])"
    check = "; assert not {'torch', 'mlflow', 'snakemake'} & sys.modules.keys()"
    environment = {"PYTHONPATH": str(REPOSITORY / "workflow"), "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, "-c", code + check], env=environment, check=True, stdout=subprocess.DEVNULL)
    assert {path.name for path in Path().iterdir()} == {"config"}
