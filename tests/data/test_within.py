"""`within: train`: a dataset's training images alone, divided once more."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tessera.data.datasets.base import ListedDataset, ListedObjects, RawDataset
from tessera.data.prepare import prepare_dataset
from tessera.data.store import load_dataset
from tessera.registry import find, load


def splits_of(name: str, data_root: Path, within: str, **options: object) -> tuple[RawDataset | ListedDataset, ...]:
    model = find("dataset", name).options
    read = [
        load("dataset", name)(model.model_validate({"name": name, "within": which, **options})).read_within(data_root)
        for which in ("all", within)
    ]
    return tuple(found.images if isinstance(found, ListedObjects) else found for found in read)


@pytest.fixture
def tree(make_tree: Callable[..., Path], tmp_path: Path) -> Path:
    numbers = [*(("train", number) for number in range(20)), *(("test", number) for number in range(3))]
    make_tree(*(f"{split}/{kind}/{number}.png" for kind in "ab" for split, number in numbers), root="flowers")
    return tmp_path


@pytest.mark.parametrize("packed", [False, True])
def test_a_fifth_of_each_class_of_the_training_images_is_held_out(tree: Path, packed: bool) -> None:
    whole, within = splits_of("image_folder", tree, "train", path="flowers", image_size=16, packed=packed)
    train, held = within.splits["train"], within.splits["test"]
    assert sorted([*train, *held]) == sorted(whole.splits["train"])
    assert np.bincount(within.labels[held]).tolist() == [4, 4]
    assert not set(held) & set(whole.splits["test"])
    again, _ = splits_of("image_folder", tree, "train", path="flowers", image_size=16, packed=packed)
    assert all(np.array_equal(again.splits[name], rows) for name, rows in whole.splits.items())


def test_what_is_prepared_has_these_splits(tree: Path, tmp_path: Path) -> None:
    options = find("dataset", "image_folder").options
    folder = tmp_path / "made"
    folder.mkdir()
    made = options.model_validate({"name": "image_folder", "path": "flowers", "image_size": 16, "within": "train"})
    figures = prepare_dataset(made, tree, folder)
    assert (figures["num_train"], figures["num_test"]) == (32, 8)
    stored = load_dataset(folder, torch.device("cpu"))
    assert {name: len(rows) for name, rows in stored.splits.items()} == {"train": 32, "test": 8}


def test_copies_of_a_handwritten_digit_stay_together(tmp_path: Path) -> None:
    whole, within = splits_of("digits_m", tmp_path, "train", copies=3)
    digits = [set((within.splits[split] % 1797).tolist()) for split in ("train", "test")]
    assert not digits[0] & digits[1]
    assert sorted([*within.splits["train"], *within.splits["test"]]) == sorted(whole.splits["train"])
    shares = np.bincount(within.labels[within.splits["test"]]) / np.bincount(whole.labels[whole.splits["train"]])
    assert np.allclose(shares, 0.2, atol=0.01)


@pytest.mark.parametrize("name", ["digits_scenes", "rendered_scenes"])
def test_images_without_a_class_are_divided_too(name: str, tmp_path: Path) -> None:
    whole, within = splits_of(name, tmp_path, "train", num_train=40, num_test=12)
    assert [len(within.splits[split]) for split in ("train", "test")] == [32, 8]
    assert not set(within.splits["test"]) & set(whole.splits["test"])
