"""`within: train`: a dataset's training images alone, divided once more."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tessera.data.datasets.base import ListedDataset, ListedObjects, RawDataset
from tessera.data.packed import Shards
from tessera.data.prepare import prepare_dataset
from tessera.data.store import load_dataset
from tessera.errors import DataError
from tessera.registry import find, load


def splits_of(name: str, data_root: Path, within: str, **options: object) -> tuple[RawDataset | ListedDataset, ...]:
    model = find("dataset", name).options
    read = [
        load("dataset", name)(model.model_validate({"name": name, "within": which, **options})).read_within(data_root)
        for which in ("all", within)
    ]
    return tuple(found.images if isinstance(found, ListedObjects) else found for found in read)


def folder_at(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.fixture
def tree(make_tree: Callable[..., Path], tmp_path: Path) -> Path:
    numbers = [*(("train", number) for number in range(20)), *(("test", number) for number in range(3))]
    make_tree(*(f"{split}/{kind}/{number}.png" for kind in "ab" for split, number in numbers), root="flowers")
    return tmp_path


def test_a_fifth_of_each_class_of_the_training_images_is_held_out(tree: Path) -> None:
    whole, within = splits_of("image_folder", tree, "train", path="flowers", image_size=16)
    train, held = within.splits["train"], within.splits["test"]
    assert sorted([*train, *held]) == sorted(whole.splits["train"])
    assert np.bincount(within.labels[held]).tolist() == [4, 4]
    assert not set(held) & set(whole.splits["test"])
    again, _ = splits_of("image_folder", tree, "train", path="flowers", image_size=16)
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


def test_images_of_a_sequence_stay_together(tmp_path: Path) -> None:
    _, within = splits_of("rendered_scenes", tmp_path, "train", num_train=40, num_test=12, frames=4)
    sequence = within.columns["sequence"].labels
    shown = [set(sequence[within.splits[split]].tolist()) for split in ("train", "test")]
    assert [len(part) for part in shown] == [8, 2]
    assert not shown[0] & shown[1]


def test_a_class_of_one_image_stays_in_training(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    make_tree(*(f"train/{name}" for name in ("a/1.png", "b/1.png", "b/2.png")), "test/a/2.png", root="few")
    _, within = splits_of("image_folder", tmp_path, "train", path="few", image_size=16)
    assert [np.bincount(within.labels[within.splits[split]]).tolist() for split in ("train", "test")] == [
        [1, 1],
        [0, 1],
    ]
    make_tree("train/a/1.png", "train/b/1.png", "test/a/2.png", root="fewer")
    with pytest.raises(DataError, match="`within: train` divides the training images, of which there are too few: 2"):
        splits_of("image_folder", tmp_path, "train", path="fewer", image_size=16)


def test_no_test_image_is_packed(tree: Path, tmp_path: Path) -> None:
    options = find("dataset", "image_folder").options
    settings = {"name": "image_folder", "path": "flowers", "image_size": 16, "within": "train", "packed": True}
    (tmp_path / "made").mkdir()
    figures = prepare_dataset(options.model_validate(settings), tree, tmp_path / "made")
    assert (figures["num_train"], figures["num_test"]) == (32, 8)
    shards = Shards(tmp_path / "made")
    assert len(shards) == 40
    assert not any(shards.name(row).startswith("test/") for row in range(40))
    again = ListedDataset.select  # of any rows, from any of them on
    listed, _ = splits_of("image_folder", tree, "train", path="flowers", image_size=16, packed=True)
    assert isinstance(listed, ListedDataset)
    rows = np.array([1, 4, 5, 30])
    chosen = again(replace(listed, splits={"train": rows[:3], "test": rows[3:]}), rows)
    whole = [image.name for image in listed.read(0)]
    for start in range(5):
        assert [image.name for image in chosen.read(start)] == [whole[row] for row in rows[start:]]
    assert {name: of.tolist() for name, of in chosen.splits.items()} == {"train": [0, 1, 2], "test": [3]}


def test_objects_of_test_images_are_not_counted(tmp_path: Path) -> None:
    whole, within = (
        prepare_dataset(
            find("dataset", "digits_scenes").options.model_validate(
                {"name": "digits_scenes", "num_train": 20, "num_test": 20, "image_size": 64, "within": part}
            ),
            tmp_path,
            folder_at(tmp_path / part),
        )
        for part in ("all", "train")
    )
    assert within["num_train"] + within["num_test"] == 20
    assert within["num_objects"] < whole["num_objects"]


@pytest.mark.parametrize("name", ["digits_scenes", "rendered_scenes"])
def test_images_without_a_class_are_divided_too(name: str, tmp_path: Path) -> None:
    whole, within = splits_of(name, tmp_path, "train", num_train=40, num_test=12)
    assert [len(within.splits[split]) for split in ("train", "test")] == [32, 8]
    assert not set(within.splits["test"]) & set(whole.splits["test"])
