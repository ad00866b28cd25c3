"""A small set in Pascal VOC form, and its preparation."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tessera.data.datasets.options.voc import VocFolderOptions
from tessera.data.detection import DetectionDataset, load_detection
from tessera.data.prepare import prepare_dataset

sys.path.insert(0, str(Path(__file__).parent))  # of voc_folder_making

Prepare = Callable[..., tuple[dict[str, float], DetectionDataset]]
LISTS = {"trainval": ["c", "a", "e"], "test": ["d", "b"], "train": ["c"], "other": ["a"]}


@pytest.fixture
def tree(voc: Any, tmp_path: Path) -> Path:
    """Five images in a folder of a folder: c shows nothing, d shows something difficult alone."""
    annotations = {
        "a": voc.annotation(voc.marked("dog", (1, 2, 10, 12)), voc.marked("cat", (3, 4, 40, 30))),
        "b": voc.annotation(voc.marked("cat", (5, 5, 9, 9)), voc.marked("cat", (11, 5, 19, 9), 1)),
        "c": voc.annotation(),
        "d": voc.annotation(voc.marked("owl", (2, 2, 3, 3), 1)),
        "e": voc.annotation(voc.marked("dog", (30, 20, 50, 25))),
    }
    voc.write(tmp_path / "tree/deep/set", annotations, LISTS)
    return tmp_path / "tree"


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    def run(output: str = "output", state: str = "state", **options: Any) -> tuple[dict[str, float], DetectionDataset]:
        folder = tmp_path / output
        folder.mkdir()
        made = VocFolderOptions(**{"path": "tree", "image_size": 32, **options})
        return prepare_dataset(made, tmp_path, folder, tmp_path / state, 4000), load_detection(folder)

    return run
