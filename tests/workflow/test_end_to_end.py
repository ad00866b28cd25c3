"""The whole chain on 48 images: run, share, restore, change, kill, prune."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tessera.artifacts import verify

pytestmark = pytest.mark.slow

Run = Callable[..., subprocess.CompletedProcess[str]]
NOTHING = "Nothing to be done"
ROOT = Path(__file__).parent.parent.parent
GRAY = """
grid:
  rows:
    - {label: random, source.method: random}
    - {label: learned, source.method: single, source.tasks: [colorization]}
"""


def output(done: "subprocess.CompletedProcess[str]") -> str:
    return done.stdout + done.stderr


def git_commit(run: Run, project: Path) -> None:
    run("git", "add", "-A", at=project)
    run("git", "commit", "-qm", "state", at=project)


def num_ran(log: str, rule: str) -> int:
    """Jobs of a rule that finished."""
    return log.count(f"(Rule: {rule})")


def test_run_share_restore_and_change(run: Run, project: Path, tmp_path: Path) -> None:
    run("git", "init", "-q", at=project)
    run("dvc", "remote", "add", "-d", "store", str(tmp_path / "store"), at=project)
    git_commit(run, project)

    # Four pretended GPUs: each job has one to itself.
    leases = tmp_path / "leases"
    pretended = {"TESSERA_PRETEND_GPUS": "4", "TESSERA_LEASE_DIR": str(leases)}
    log = output(run("snakemake", "--cores", "4", "--resources", "gpu=4", at=project, **pretended))
    assert "| " in log
    assert "DVC: artifacts and results committed" in log
    assert (project / "results" / "tiny" / "table.md").exists()
    events = [json.loads(line) for line in (leases / "journal.jsonl").read_text().splitlines()]
    # One for each process: an encoder is measured in the process that trained it.
    assert len([event for event in events if event["event"] == "taken"]) == 2
    for manifest in project.glob("artifacts/*/*/artifact.json"):
        verify(manifest.parent, whole=True)
        assert json.loads(manifest.read_text())["seconds"] > 0
    assert not list(project.glob("resume/*/*/state"))
    assert NOTHING in output(run("snakemake", "--cores", "2", at=project))
    assert "up to date" in output(run("dvc", "status", at=project))
    assert "tiny" in run("dvc", "metrics", "show", "--md", at=project).stdout
    run("dvc", "plots", "show", at=project)
    git_commit(run, project)
    run("dvc", "push", "-q", at=project)

    # A clone has everything that the original has, whatever its files' times.
    clone = tmp_path / "clone"
    run("git", "clone", "-q", str(project), str(clone), at=tmp_path)
    shutil.copytree(project / "data", clone / "data")
    run("dvc", "pull", "-q", at=clone)
    for index, path in enumerate(sorted(clone.glob("artifacts/**/*.*"))):
        os.utime(path, (1e9 + index % 7, 1e9 + index % 7))
    dry = output(run("snakemake", "-n", at=clone))
    assert NOTHING in dry
    assert "missing provenance" not in dry
    assert "up to date" in output(run("dvc", "status", at=clone))
    assert "didn't change, skipping" in output(run("dvc", "repro", at=clone))
    done = run("python", "-m", "tessera", "sync", "--config", "tracking={mlflow: {enabled: true}}", at=clone)
    assert "MLflow: 8 runs new, 0 known" in done.stdout  # five jobs, a cell in two trials, and the study
    assert len(list(clone.glob("mlflow.db"))) == 1

    # A third trial costs one training; going back costs none, and the table is the first one's again.
    study = clone / "config" / "studies" / "tiny.yaml"
    table = (clone / "results" / "tiny" / "table.csv").read_text()
    study.write_text(study.read_text().replace("trials: 2", "trials: 3"))
    log = output(run("snakemake", "--cores", "2", at=clone))
    assert (num_ran(log, "pretrain_source"), num_ran(log, "prepare_dataset")) == (1, 0)
    assert (clone / "results" / "tiny" / "table.csv").read_text() != table
    study.write_text(study.read_text().replace("trials: 3", "trials: 2"))
    log = output(run("dvc", "repro", at=clone))
    assert (num_ran(log, "pretrain_source"), num_ran(log, "summarize_study")) == (0, 1)
    assert (clone / "results" / "tiny" / "table.csv").read_text() == table

    # What the third trial left is needed by no study now.
    done = run("python", "-m", "tessera", "prune", at=clone, code=1)
    assert done.stdout.count("  artifacts/") == 2
    assert "say --yes" in done.stdout
    run("python", "-m", "tessera", "prune", "--yes", at=clone)
    assert len(list(clone.glob("artifacts/*/*"))) == 5
    assert NOTHING in output(run("snakemake", "-n", at=clone))


def test_what_another_configuration_made_is_shared_and_told_from_what_is_asked_for(run: Run, project: Path) -> None:
    run("git", "init", "-q", at=project)
    git_commit(run, project)
    other = project / "config" / "other.yaml"
    other.write_text("trials: 1")
    log = output(run("snakemake", "--cores", "2", "--configfile", "config/other.yaml", at=project))
    assert "config/config.yaml asks for more than was run" in log
    lock = yaml.safe_load((project / "dvc.lock").read_text())["stages"]
    assert lock["pretrain_source"]["outs"][0]["nfiles"] >= 4
    assert "up to date" in output(run("dvc", "status", at=project))
    # By hand it is about config/config.yaml, which lacks a trial.
    run("python", "-m", "tessera", "commit", at=project)
    lock = yaml.safe_load((project / "dvc.lock").read_text())["stages"]
    assert "not all" in lock["pretrain_source"]["cmd"]
    assert "not all" not in lock["prepare_dataset"]["cmd"]
    log = output(run("dvc", "repro", at=project))
    assert num_ran(log, "pretrain_source") == 1
    assert "up to date" in output(run("dvc", "status", at=project))


@pytest.mark.timeout(900)
def test_figures_1_and_4_are_drawn(run: Run, project: Path) -> None:
    """At scale smoke, on stand-ins for the paper's images."""
    for name in ("figure1", "figure4"):
        shutil.copy(ROOT / "config" / "studies" / f"{name}.yaml", project / "config" / "studies")
    config = "{studies: [figure1, figure4], scale: smoke, trials: 1, device: cpu, tracking: {mlflow: {enabled: false}}}"
    (project / "config" / "config.yaml").write_text(config)
    run("snakemake", "--cores", "2", at=project)
    log = output(run("snakemake", "--report", "report.html", at=project))
    assert "Undefined substitution" not in log  # of the bars around α
    told = (project / "report.html").read_text()
    for study, drawn in {
        "figure1": {"impact.png", "previews-1.png", "previews-4.png", "pretraining_losses.png"},
        "figure4": {"retrieval-1.png", "confusion-1.png", "map-1.png", "previews-2.png", "sharing.png"},
    }.items():
        results = project / "results" / study
        pictures = json.loads((results / "figures" / "index.json").read_text())
        page = (results / "report.html").read_text()
        assert drawn <= {picture["file"] for picture in pictures}, study
        assert page.count("<img ") == len(pictures)
        assert len(page) < 2_000_000
        assert all(json.dumps(picture["title"])[1:-1] in told for picture in pictures)


@pytest.mark.timeout(900)
def test_several_labels_of_an_image_are_learned_weighed_and_compared(run: Run, project: Path) -> None:
    study = "digits_attributes"
    shutil.copy(ROOT / "config" / "studies" / f"{study}.yaml", project / "config" / "studies")
    run("snakemake", "--cores", "2", study, "--config", "scale=smoke", "trials=1", at=project)
    table = json.loads((project / "results" / study / "table.json").read_text())
    assert table["columns"] == ["digit", "photograph", "zoom", "Δm"]
    assert table["rows"] == ["equal", "uncertainty", "DWA", "single task"]
    lines = (project / "results" / study / "table.csv").read_text().splitlines()
    assert sum("classification." in line for line in lines) == 12  # every row has each label
    assert len(list(project.glob("artifacts/source/*"))) == 6  # three ways of weighing, three networks of one task


def test_a_study_with_a_failed_job_has_a_page_of_the_others(run: Run, project: Path) -> None:
    """Gray images give the task of colours nothing to learn."""
    for path in project.glob("data/shades/*/*/*.png"):
        with Image.open(path) as image:
            gray = image.convert("L").convert("RGB")
        gray.save(path)
    study = project / "config" / "studies" / "tiny.yaml"
    whole = study.read_text()
    study.write_text(whole + GRAY)
    log = output(run("snakemake", "--cores", "2", "--keep-going", at=project, code=1))
    assert "tiny is unfinished, for 1 job failed." in log
    results = project / "results" / "tiny"
    page = (results / "unfinished.html").read_text()
    assert "colorization needs colours" in page
    assert "learned, knn: trials 0, 1 of 2 are not made." in page
    assert not list(results.glob("provenance-*.json"))
    study.write_text(whole)
    run("snakemake", "--cores", "2", at=project)
    assert not (results / "unfinished.html").exists()
    assert (results / "report.html").exists()
