"""A project of its own in a temporary folder: the real rules and package, a study of seconds, 48 images."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent.parent
COPIED = ("Snakefile", "rules", "envs", "profiles", "dvc.yaml", ".dvc", ".dvcignore", ".gitignore", "config")
CONFIG = """
studies: [tiny]
device: auto
tracking: {mlflow: {enabled: false}}
"""
STUDY = """
title: Do untrained features tell light from dark?
scale: smoke
trials: 2
base:
  source.dataset+target.dataset: {name: image_folder, path: shades, image_size: 32}
  source: {encoder: resnet8, method: random}
  target: {protocol: knn}
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _own_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TESSERA_DATA", raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    ignored = shutil.ignore_patterns("tmp", "cache", "__pycache__")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    (folder / "workflow").symlink_to(ROOT / "workflow")
    (folder / "config" / "config.yaml").write_text(CONFIG)
    for study in (folder / "config" / "studies").glob("*.yaml"):
        study.unlink()
    (folder / "config" / "studies" / "tiny.yaml").write_text(STUDY)
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for label, brightness in (("light", 200), ("dark", 60)):
            images = folder / "data" / "shades" / split / label
            images.mkdir(parents=True)
            for index in range(12):
                pixels = random.normal(brightness, 30, (32, 32, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(images / f"{index}.png")
    return folder


@pytest.fixture
def environment() -> Callable[..., dict[str, str]]:
    """Variables of a process: what a user has, no GPU and no data; keywords add to them."""
    left_out = {"OMP_NUM_THREADS", "PYTHONPATH", "DVC_STAGE", "TESSERA_DATA"}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    author = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    common = {**author, "PATH": path, "PYTHONPATH": str(ROOT / "workflow"), "OMP_NUM_THREADS": "1"}
    hidden = {"CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    return lambda **variables: {**kept, **common, **hidden, **variables}


@pytest.fixture
def run(environment: Callable[..., dict[str, str]]) -> Run:
    """Runs a command of this environment; fails with its output where it fails."""

    def call(*words: str, at: Path, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        beside = Path(sys.executable).parent / words[0]
        command = [str(beside) if beside.exists() else words[0], *words[1:]]
        done = subprocess.run(command, cwd=at, env=environment(**variables), capture_output=True, text=True)
        assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    return call
