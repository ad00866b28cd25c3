"""What Snakemake would run: quickly, without torch, with and without GPUs."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

Run = Callable[..., subprocess.CompletedProcess[str]]


def num_jobs(output: str, rule: str) -> int:
    """Of the table that Snakemake prints."""
    lines = [line.split() for line in output.splitlines()]
    return next((int(words[1]) for words in lines if len(words) == 2 and words[0] == rule and words[1].isdigit()), 0)


@pytest.fixture
def no_torch(tmp_path: Path) -> str:
    """A folder for PYTHONPATH in which an import of torch fails."""
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "torch.py").write_text("raise RuntimeError('torch was imported')")
    return str(tmp_path / "blocked")


@pytest.mark.slow
def test_a_plan_of_a_thousand_jobs_never_imports_torch(run: Run, project: Path, no_torch: str) -> None:
    study = project / "config" / "studies" / "tiny.yaml"
    study.write_text(study.read_text().replace("trials: 2", "trials: 500"))
    done = run("snakemake", "-n", at=project, PYTHONPATH=no_torch)
    assert num_jobs(done.stdout + done.stderr, "total") == 1003


@pytest.mark.parametrize(
    "options",
    [
        [],
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in (["--resources", "gpu=4"], ["--config", "device=cpu"])
        ),
    ],
)
def test_a_machine_without_gpus_runs_the_same_jobs(run: Run, project: Path, options: list[str]) -> None:
    done = run("snakemake", "-n", "--cores", "8", *options, at=project)
    assert num_jobs(done.stdout + done.stderr, "total") == 7


@pytest.mark.parametrize(
    ("target", "jobs"),
    [
        pytest.param("tiny", 7, marks=pytest.mark.slow),
        ("all_pretrain_source", 4),
        pytest.param("all_prepare_dataset", 2, marks=pytest.mark.slow),
    ],
)
def test_studies_and_stages_are_targets(run: Run, project: Path, target: str, jobs: int) -> None:
    done = run("snakemake", "-n", target, at=project)
    assert num_jobs(done.stdout + done.stderr, "total") == jobs


def test_a_mistake_is_told_without_a_traceback(run: Run, project: Path) -> None:
    (project / "config" / "config.yaml").write_text("studis: [tiny]")
    done = run("snakemake", "-n", at=project, code=1)
    message = done.stdout + done.stderr
    assert "Did you mean 'studies'?" in message
    assert "Traceback" not in message
    assert ".smk" not in message


@pytest.mark.slow
def test_the_stages_of_dvc_wrap_targets_that_exist(run: Run, project: Path) -> None:
    stages = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    targets = {stage["cmd"].removeprefix("snakemake --cores all").strip() for stage in stages.values()}
    known = set(run("snakemake", "--list-target-rules", at=project).stdout.split())
    assert targets - {""} <= known
    assert {f"all_{name}" for name in stages} - {"all_summarize_study"} == targets - {""}


@pytest.mark.slow
def test_what_is_left_out_is_named_at_the_start_and_at_the_end(run: Run, project: Path) -> None:
    study = project / "config" / "studies" / "tiny.yaml"
    study.write_text(
        study.read_text()
        + "grid: {rows: [{label: here, source.batch_size: 8}, {label: absent, source.dataset: "
        + "{name: image_folder, path: faces.tar, image_size: 32}}]}\n"
    )
    note = "left out: tiny: row 'absent': dataset `image_folder`: no `faces.tar` under data_root"
    assert note in run("snakemake", "-n", at=project).stderr
    assert note in run("python", "-m", "tessera", "finish", at=project).stdout
    refused = run("snakemake", "-n", "--config", "strict=true", at=project, code=1)
    assert "faces.tar" in refused.stderr
    assert "`strict` is set" in refused.stderr


def test_a_target_that_no_rule_makes_is_told_in_a_line(run: Run, project: Path) -> None:
    said = run("snakemake", "-n", "tiny2", at=project, code=1).stderr
    assert "error: no such study, stage or file 'tiny2'. Did you mean 'tiny'?" in said
    assert "MissingRuleException" not in said


@pytest.mark.slow
def test_a_file_given_by_configfile_is_read_as_strictly(run: Run, project: Path) -> None:
    (project / "twice.yaml").write_text("trials: 1\ntrials: 2\n")
    said = run("snakemake", "-n", "--configfile", "twice.yaml", at=project, code=1).stderr
    assert "error: twice.yaml, line 2, column 1: not valid YAML: the key `trials` stands twice" in said
