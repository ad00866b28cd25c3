"""Prepared datasets on disk and in memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from tessera.data.store import Dataset, label_subset, load_dataset, save_dataset
from tessera.errors import ArtifactError, DataError

CPU = torch.device("cpu")
random = np.random.default_rng(0)
IMAGES = random.integers(0, 256, (12, 6, 6, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1, -1, -1])
SPLITS = {"train": np.array([5, 0, 3, 2]), "test": np.array([1, 4]), "unlabeled": np.array([10, 11])}


def save(folder: Path, **changes: Any) -> None:
    made: dict[str, Any] = {"images": IMAGES, "labels": LABELS, "splits": SPLITS, "classes": ["a", "b"]}
    save_dataset(folder, **(made | changes))


def loaded(folder: Path) -> Dataset:
    save(folder)
    return load_dataset(folder, CPU)


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    dataset = loaded(tmp_path)
    assert dataset.classes == ("a", "b")
    assert dataset.image_size == 6
    for name, rows in SPLITS.items():
        split = dataset.splits[name]
        assert split.images.shape == (len(rows), 3, 6, 6)
        assert split.images.is_contiguous()
        assert np.array_equal(split.images.numpy().transpose(0, 2, 3, 1), IMAGES[rows])
        assert split.labels.tolist() == LABELS[rows].tolist()


def test_statistics_are_of_the_training_split(tmp_path: Path) -> None:
    dataset = loaded(tmp_path)
    pixels = IMAGES[SPLITS["train"]].reshape(-1, 3) / 255
    assert_allclose(dataset.mean, pixels.mean(axis=0), rtol=1e-12)
    assert_allclose(dataset.std, pixels.std(axis=0), rtol=1e-12)


def test_source_split_adds_the_unlabelled(tmp_path: Path) -> None:
    dataset = loaded(tmp_path)
    source = dataset.source_split()
    assert len(source) == 6
    assert source.labels.tolist() == [1, 0, 1, 0, -1, -1]
    assert torch.equal(source.images[:4], dataset.train.images)
    assert torch.equal(dataset.train.subset(torch.tensor([3, 1])).images, dataset.train.images[[3, 1]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": IMAGES.astype(np.float32)}, "must be .* uint8, but are .* float32"),
        ({"images": IMAGES[..., :2]}, r"\(12, 6, 6, 2\)"),
        ({"classes": ["a", "b", "c"]}, "class `c` has no training images"),
        ({"labels": LABELS[:5]}, "labels must be one an image"),
        ({"labels": LABELS + 1}, "labels must be -1 to 1, but are 0 to 2"),
        ({"splits": {"train": SPLITS["train"]}}, "split `test` has no images"),
        ({"splits": {**SPLITS, "test": np.array([], dtype=int)}}, "split `test` has no images"),
        ({"splits": {**SPLITS, "val": np.array([7])}}, "unknown split `val`"),
        ({"splits": {**SPLITS, "test": np.array([5])}}, "at most once"),
        ({"splits": {**SPLITS, "test": np.array([12])}}, "at most once"),
    ],
)
def test_unfit_data_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        save(tmp_path, **changes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["dataset.json", "images.npy", "labels.npy", "splits.npz"])
@pytest.mark.parametrize("damage", ["absent", "cut off", "empty"])
def test_a_damaged_artifact_is_told(tmp_path: Path, name: str, damage: str) -> None:
    save(tmp_path)
    file = tmp_path / name
    content = file.read_bytes()
    file.unlink()
    if damage != "absent":
        file.write_bytes(content[: len(content) // 2 if damage == "cut off" else 0])
    with pytest.raises(ArtifactError, match="not a readable dataset"):
        load_dataset(tmp_path, CPU)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    save(tmp_path)
    np.save(tmp_path / "labels.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ArtifactError, match="not a readable dataset"):
        load_dataset(tmp_path, CPU)


def test_label_subset_is_balanced_and_repeats() -> None:
    labels = torch.tensor([0] * 40 + [1] * 20 + [2] + [-1] * 30)[torch.randperm(91)]
    draw = [label_subset(labels, 0.25, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.bincount(labels[draw[0]]).tolist() == [10, 5, 1]  # at least one
    assert draw[0].tolist() == sorted(set(draw[0].tolist()))
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert torch.equal(label_subset(labels, 1.0, torch.Generator()), (labels >= 0).nonzero().flatten())
