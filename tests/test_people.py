"""No image of a dataset that shows people is kept as a picture: everything that keeps some asks the dataset."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from faces import everybody, holding_faces, noise, write_faces
from tessera.clustering.illustrate import illustrate
from tessera.clustering.retrieval import nearest_neighbors
from tessera.data.datasets.options.image_folder import ImageFolderOptions
from tessera.data.datasets.options.utkface import UtkfaceOptions
from tessera.data.prepare import prepare_dataset
from tessera.data.store import Dataset, load_dataset
from tessera.multitask.pretrain import pretrain
from tessera.multitask.previews import save_previews
from tessera.multitask.source import Source
from tessera.report.runs import Runs
from tessera.training.compute import Compute

CPU = Compute(torch.device("cpu"), "float32")
TASKS = ["reconstruction", "rotation"]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A prepared dataset of stand-ins for faces, as an artifact."""
    write_faces(tmp_path / "UTKFace", everybody(4), side=32)
    folder = tmp_path / "artifacts/datasets/utkface-01234567"
    folder.mkdir(parents=True)
    prepare_dataset(UtkfaceOptions(image_size=32), tmp_path, folder)
    return folder


def keep_pictures(dataset: Dataset, folder: Path) -> None:
    """A training of pretext tasks, and a clustering's pictures."""
    options = {"dataset": "utkface", "encoder": "resnet8", "epochs": 1, "iterations": 1, "batch_size": 8}
    pretrained = pretrain(Source(**options, tasks=TASKS, statistics_batches=1), dataset, {}, CPU, 0, None)  # type: ignore[arg-type]
    save_previews(pretrained.previews, folder)
    labels = torch.cat([dataset.train.labels, dataset.test.labels]).numpy()
    points = np.random.default_rng(0).normal(size=(len(labels), 5)).astype(np.float32)
    neighbors = nearest_neighbors(torch.from_numpy(points), 10).numpy()
    arrays = {"labels": labels, "indices": np.arange(len(labels)), "neighbors": neighbors, "embedding": points}
    illustrate(arrays, dataset, 0, folder)


def test_no_preview_and_no_retrieved_image_shows_people(kept: Path, tmp_path: Path) -> None:
    dataset, images = load_dataset(kept, CPU.device), np.load(kept / "images.npy")
    assert dataset.shows_people
    for name, shown in (("people", dataset), ("others", replace(dataset, shows_people=False))):
        (tmp_path / name).mkdir()
        keep_pictures(shown, tmp_path / name)
    assert {path.name for path in (tmp_path / "people").iterdir()} == {"map.npz"}  # points, no pixels
    assert holding_faces(tmp_path / "people", images) == []
    # What looks for faces finds them where they are.
    assert holding_faces(tmp_path / "others", images) == ["previews-1.jpg", "previews-2.jpg", "retrieval.jpg"]
    assert holding_faces(kept, images) == ["images.npy"]


def test_what_looks_for_faces_finds_them_in_pages_and_arrays(kept: Path, tmp_path: Path) -> None:
    images, folder = np.load(kept / "images.npy"), tmp_path / "hidden"
    folder.mkdir()
    picture = base64.b64encode(noise(3, 32))
    (folder / "page.html").write_bytes(b'<p>Faces</p><img src="data:image/jpeg;base64,' + picture + b'">')
    np.savez_compressed(folder / "packed.npz", shown=images[5:7])
    np.save(folder / "float.npy", images[5].transpose(2, 0, 1).astype(np.float32) / 255)
    np.save(folder / "innocent.npy", np.random.default_rng(0).normal(size=(32, 32, 3)).astype(np.float32))
    (folder / "page.md").write_text("No faces.")
    assert holding_faces(folder, images) == ["float.npy", "packed.npz", "page.html"]


def test_the_page_says_why_there_is_no_picture(kept: Path, tmp_path: Path) -> None:
    name = kept.relative_to(tmp_path).as_posix()
    assert Runs(tmp_path, [name]).with_people() == ["utkface-01234567"]
    about = json.loads((kept / "dataset.json").read_text())
    (kept / "dataset.json").write_text(json.dumps({key: about[key] for key in about if key != "shows_people"}))
    assert Runs(tmp_path, [name]).with_people() == []


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("people", [False, True])
def test_a_folder_of_ones_own_says_whether_it_shows_people(tmp_path: Path, packed: bool, people: bool) -> None:
    for number in range(8):
        folder = tmp_path / "mine" / ("train" if number < 6 else "test") / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(noise(number))
    (tmp_path / "kept").mkdir()
    options = ImageFolderOptions(path="mine", image_size=16, packed=packed, shows_people=people)
    prepare_dataset(options, tmp_path, tmp_path / "kept")
    assert load_dataset(tmp_path / "kept", CPU.device).shows_people == people
    assert ("shows_people" in json.loads((tmp_path / "kept" / "dataset.json").read_text())) == people
    assert ("shows_people" in options.model_dump()) == people  # what was prepared without the word keeps its key
