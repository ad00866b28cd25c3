"""An artifact as a stage leaves it, without the stage."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tessera.tracking.store import Store


@pytest.fixture
def write_artifact() -> Callable[..., Path]:
    """Writes an artifact into a folder; keywords change its manifest."""

    def write(folder: Path, **changes: Any) -> Path:
        folder.mkdir(parents=True)
        manifest = {
            "kind": "pretrain_source",
            "name": folder.name,
            "key": "01234567",
            "trial": 2,
            "settings": {"source": {"epochs": 2, "tasks": [{"name": "jigsaw", "gray": 0.5}, {"name": "plain"}]}},
            "inputs": {"dataset": "artifacts/datasets/digits-aaaaaaaa"},
            "code": "c0de",
            "git": {"commit": "abc", "dirty": True},
            "seconds": 20.0,
            "finished": "2026-01-01T00:00:20+00:00",
            **changes,
        }
        (folder / "artifact.json").write_text(json.dumps(manifest))
        (folder / "history.csv").write_text("epoch,task,loss\n1,jigsaw,3.5\n1,plain,1.5\n2,jigsaw,nan\n2,plain,\n")
        (folder / "metrics.json").write_text(json.dumps({"accuracy": 50, "missing": None, "images/s [GPU]": 7.5}))
        return folder

    return write


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once: its creation takes longer than all tests."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    Store(f"sqlite:///{path}", "tessera")
    return path
