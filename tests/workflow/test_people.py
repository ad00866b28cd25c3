"""A study of faces, from their folder to the page: nothing but the prepared images holds a picture of one."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from faces import everybody, holding_faces, write_faces

pytestmark = pytest.mark.slow

Run = Callable[..., subprocess.CompletedProcess[str]]
STUDY = """
title: What do features of faces tell?
scale: smoke
trials: 1
base:
  source.dataset+target.dataset: {name: utkface, image_size: 32}
  source: {encoder: resnet8, tasks: [reconstruction, colorization, rotation, jigsaw, segmentation], method: equal}
  target: {network: reduced_alexnet, labels: gender}
grid:
  columns:
    - {label: gender, target.protocol: classification, transfer.method: soft_targets}
    - {label: "age, few", target.protocol: {name: few_shot, shots: 2, queries: 2, episodes: 5}, target.labels: age}
    - {label: "ethnicity, clusters", target.protocol: {name: clustering, images: 60}, target.labels: ethnicity}
    - {label: "gender, tree", target.protocol: decision_tree}
    - {label: "gender, SVM", target.protocol: svm}
"""


def test_no_face_is_in_any_artifact_or_page(run: Run, project: Path) -> None:
    shutil.rmtree(project / "data")
    write_faces(project / "data" / "UTKFace", everybody(15), side=32)
    smoke = project / "config" / "scales" / "smoke.yaml"
    scale = yaml.safe_load(smoke.read_text())
    del scale["stand_ins"]["dataset"]["utkface"]  # its own images, whatever the scale
    smoke.write_text(yaml.safe_dump(scale))
    (project / "config" / "studies" / "tiny.yaml").write_text(STUDY)
    config = project / "config" / "config.yaml"
    config.write_text(config.read_text().replace("enabled: false", "enabled: true"))
    run("git", "init", "-q", at=project)
    run("git", "add", "-A", at=project)
    run("git", "commit", "-qm", "state", at=project)
    run("snakemake", "--cores", "2", at=project)

    (kept,) = project.glob("artifacts/datasets/*")
    images = np.load(kept / "images.npy")
    assert len(images) == 105
    page = (project / "results" / "tiny" / "report.html").read_text()
    assert "utkface" in page
    assert "shows people, so no image of it is drawn" in page
    pictures = json.loads((project / "results" / "tiny" / "figures" / "index.json").read_text())
    titles = {picture["title"].partition(":")[0] for picture in pictures}
    assert {"Losses of the tasks", "Clusters and classes", "Map of the embedding"} <= titles
    cells = json.loads((project / "results" / "tiny" / "table.json").read_text())["cells"]
    assert {cell["column"]: cell["chance"] for cell in cells} == {
        "gender": 50.0,
        "age, few": pytest.approx(100 / 7, abs=1e-4),
        "ethnicity, clusters": None,
        "gender, tree": 50.0,
        "gender, SVM": 50.0,
    }
    (clusters,) = project.glob("artifacts/clusters/*/assignments.npz")
    with np.load(clusters, allow_pickle=False) as found:
        assert np.unique(found["labels"]).tolist() == [0, 1, 2, 3, 4]  # ethnicities, not ages
    assert holding_faces(kept, images) == ["images.npy"]
    for path in [kept, project / "data", project / ".dvc" / "cache"]:  # what the user put there, and what is made of it
        shutil.rmtree(path, ignore_errors=True)
    assert holding_faces(project, images) == []
