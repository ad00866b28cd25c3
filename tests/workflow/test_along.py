"""An encoder along its training, by the real rules: it is trained once, whatever is asked of its snapshots later."""

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

Run = Callable[..., subprocess.CompletedProcess[str]]
STUDY = """
title: What is an encoder worth after one epoch, and after two?
scale: smoke
trials: 1
base:
  source.dataset+target.dataset: {name: image_folder, path: shades, image_size: 32}
  source: {encoder: resnet8, method: single, tasks: [rotation], batch_size: 8, optimizer: {schedule: constant}}
  target: {at: all}
grid:
  rows:
    - {label: three, source.epochs: 3, source.snapshots: [1, 2]}
    - {label: two, source.epochs: 2, target.at: last}
    - {label: untrained, source.method: random}
  columns: {target.protocol: [COLUMNS]}
"""


def measured(project: Path, at: int | None, epochs: int, protocol: str = "knn") -> dict[str, np.ndarray]:
    """What was predicted of an encoder of so many epochs, at one of them."""
    for path in project.glob("artifacts/target/*/artifact.json"):
        about = json.loads(path.read_text())
        source = json.loads((project / about["inputs"]["source"] / "artifact.json").read_text())["settings"]["source"]
        settings = about["settings"]
        if (settings["protocol"]["name"], settings.get("at"), source["epochs"]) == (protocol, at, epochs):
            with np.load(path.with_name("predictions.npz")) as arrays:
                return dict(arrays)
    raise AssertionError(f"nothing measured at {at} of {epochs} epochs")


def test_an_encoder_is_measured_along_its_training(run: Run, project: Path) -> None:
    study = project / "config" / "studies" / "tiny.yaml"
    study.write_text(STUDY.replace("COLUMNS", "knn"))
    run("snakemake", "--cores", "2", at=project)
    (source,) = project.glob("artifacts/source/*/snapshots")
    assert sorted(path.name for path in source.iterdir()) == ["epoch_1", "epoch_2", "index.json"]
    here, there = measured(project, 2, 3), measured(project, None, 2)
    assert all(np.array_equal(here[name], there[name]) for name in here)
    with (project / "results" / "tiny" / "along.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["row"], line["epoch"]) for line in lines] == [
        ("three", "1"), ("three", "2"), ("three", "3"), ("two", ""), ("untrained", ""),
    ]  # fmt: skip
    assert lines[1]["value"] == lines[3]["value"]
    views = [int(line["image_views"]) for line in lines[:3]]
    assert views == [views[0], 2 * views[0], 3 * views[0]] == [64, 128, 192]  # 8 batches of 8 an epoch
    assert (project / "results" / "tiny" / "figures" / "along.png").exists()
    assert "Nothing to be done" in (done := run("snakemake", "--cores", "2", at=project)).stdout + done.stderr

    # Another question of the same encoders trains nothing.
    study.write_text(STUDY.replace("COLUMNS", "knn, linear_probe"))
    again = run("snakemake", "--cores", "2", at=project)
    log = again.stdout + again.stderr
    assert "(Rule: pretrain_source)" not in log
    assert log.count("(Rule: evaluate_target)") == 3 + 1 + 1
    measured(project, 1, 3, "linear_probe")
    assert "0 to do" in run("tessera", "plan", at=project).stdout
