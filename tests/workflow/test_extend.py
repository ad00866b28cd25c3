"""A longer training goes on from the state that a shorter one left, through Snakemake, and ends with the same bytes."""

import filecmp
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Run = Callable[..., subprocess.CompletedProcess[str]]
STUDY = """
title: What does a longer training give?
scale: smoke
trials: 1
base:
  source.dataset+target.dataset: {name: image_folder, path: shades, image_size: 32}
  source:
    encoder: resnet8
    tasks: [rotation, reconstruction]
    method: equal
    iterations: 8
    optimizer: {schedule: wsd, warmup_epochs: 0.5, decay_epochs: 1}
  target: {protocol: knn}
grid:
  rows:
"""


def write(project: Path, *epochs: int, more: str = "") -> None:
    rows = "".join(f"    - {{label: {number} epochs, source.epochs: {number}{more}}}\n" for number in epochs)
    (project / "config" / "studies" / "tiny.yaml").write_text(STUDY + rows)


def trainings(project: Path) -> dict[int, tuple[Path, dict[str, Any]]]:
    """By their epochs: folder and manifest."""
    found = {}
    for path in project.glob("artifacts/source/*/artifact.json"):
        about = json.loads(path.read_text())
        found[about["settings"]["source"]["epochs"]] = path.parent, about
    return found


def test_a_longer_study_trains_the_rest_alone_and_ends_with_the_bytes_of_one_in_one_go(run: Run, project: Path) -> None:
    alone = project.with_name("alone")
    shutil.copytree(project, alone, symlinks=True)

    write(project, 3)
    run("snakemake", "--cores", "2", at=project)
    (first,) = project.glob("artifacts/states/*")
    assert ".e2-" in first.name

    # One from what is there, and one from what that one leaves: a chain, though two cores are free.
    write(project, 3, 5, 7)
    said = run("python", "-m", "tessera", "plan", at=project).stdout
    assert "Go on from the state of a shorter training:" in said
    assert "after epoch 2" in said
    assert "after epoch 4" in said
    run("snakemake", "--cores", "2", at=project)
    made = trainings(project)
    assert sorted(made) == [3, 5, 7]
    assert "extends" not in made[3][1]
    assert made[5][1]["extends"]["state"] == f"artifacts/states/{first.name}"
    assert [made[epochs][1]["extends"]["epochs"] for epochs in (5, 7)] == [2, 4]
    logs = {epochs: (project / "logs/source" / f"{made[epochs][0].name}.log").read_text() for epochs in made}
    assert "going on after epoch 4 of 7" in logs[7]
    assert "epoch 4/7" not in logs[7]
    assert "epoch 5/7" in logs[7]
    done = run("snakemake", "-n", at=project)
    assert "Nothing to be done" in done.stdout + done.stderr

    write(project, 9, more=", source.snapshots: [1]")
    said = run("python", "-m", "tessera", "plan", at=project).stdout
    assert "Longer states that go unused for their snapshots alone:" in said
    assert "the state after epoch 6 is there, but carries no snapshot" in " ".join(said.split())
    write(project, 3, 5, 7)

    # States are a shortcut: without them nothing runs again.
    run("python", "-m", "tessera", "prune", "--states", "--yes", at=project)
    assert not list(project.glob("artifacts/states/*"))
    done = run("snakemake", "-n", at=project)
    assert "Nothing to be done" in done.stdout + done.stderr

    write(alone, 7)
    run("snakemake", "--cores", "2", at=alone)
    folder, about = trainings(alone)[7]
    assert "extends" not in about
    assert folder.name == made[7][0].name, "the key is that of a training in one go"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    same = names - {"artifact.json", "history.csv", "metrics.json"}  # which have times
    assert {"encoder.safetensors", "heads.safetensors"} <= same
    match, differ, lost = filecmp.cmpfiles(folder, made[7][0], sorted(same), shallow=False)
    assert (set(match), differ, lost) == (same, [], [])
    target = next(alone.glob("artifacts/target/*"))
    assert (target / "metrics.json").read_bytes() == (
        project / "artifacts/target" / target.name / "metrics.json"
    ).read_bytes()
