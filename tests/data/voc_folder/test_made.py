"""Sets in Pascal VOC form, prepared: what comes of them."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from voc_folder_making import Prepare, shown

from tessera.data import packing
from tessera.data.store import load_dataset
from tessera.errors import DataError


def test_what_is_made(prepare: Prepare, tree: Path, tmp_path: Path) -> None:
    metrics, dataset = prepare()
    assert metrics == {
        "num_train": 3, "num_test": 2, "num_classes": 3, "num_objects": 6, "num_difficult": 2, "num_skipped": 0,
    }  # fmt: skip
    assert dataset.classes == ("cat", "dog", "owl")
    assert shown(dataset.train) == [
        ("c", [], [], []),
        ("a", [[0, 1, 10, 12], [2, 3, 40, 30]], [1, 0], [False, False]),
        ("e", [[29, 19, 40, 25]], [1], [False]),
    ]
    assert shown(dataset.test) == [
        ("d", [[1, 1, 3, 3]], [2], [True]),
        ("b", [[4, 4, 9, 9], [10, 4, 19, 9]], [0, 0], [False, True]),
    ]
    assert dataset.train.name(1) == "deep/set/JPEGImages/a.jpg"
    with Image.open(tree / "deep/set/JPEGImages/a.jpg") as image:
        assert torch.equal(dataset.train.image(1), torch.from_numpy(np.array(image)).permute(2, 0, 1))
    assert dataset.train.image(1).is_contiguous()
    assert dataset.train.size(1) == (30, 40) == tuple(dataset.train.image(1).shape[1:])
    objects = dataset.train.objects(0)
    assert (objects.boxes.shape, objects.boxes.dtype) == ((0, 4), torch.float32)
    assert (objects.labels.dtype, objects.difficult.dtype) == (torch.int64, torch.bool)
    files = {path.name for path in (tmp_path / "output").iterdir() if path.suffix != ".bin"}
    assert files == {"index.npy", "names.txt", "labels.npy", "objects.npz", "splits.npz", "dataset.json"}
    assert (
        (tmp_path / "output/images-00000.bin")
        .read_bytes()
        .startswith(
            (tree / "deep/set/JPEGImages/a.jpg").read_bytes()  # as it was encoded
        )
    )


def test_pretext_tasks_see_squares_of_it(prepare: Prepare, tree: Path, tmp_path: Path) -> None:
    _, boxes = prepare()
    dataset = load_dataset(tmp_path / "output", torch.device("cpu"))
    assert dataset.train.images.shape == (3, 3, 32, 32)
    assert dataset.train.labels.tolist() == [-1, -1, -1]
    pixels = dataset.train.images[:].double() / 255
    assert boxes.mean == dataset.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert boxes.std == dataset.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-12)


def test_splits_can_be_pickled_chosen_from_and_written_to(prepare: Prepare, tree: Path) -> None:
    _, dataset = prepare()
    again = pickle.loads(pickle.dumps(dataset.train))
    assert shown(again) == shown(dataset.train)
    assert torch.equal(again.image(2), dataset.train.image(2))
    assert shown(dataset.train.subset(torch.tensor([2, 0]))) == [shown(dataset.train)[i] for i in (2, 0)]
    before = shown(dataset.train)
    dataset.train.objects(1).boxes.zero_()
    assert shown(dataset.train) == before
    objects = dataset.train.objects(1)
    assert objects.select(objects.labels == 0).boxes.tolist() == [[2, 3, 40, 30]]


@pytest.mark.parametrize("suffix", [".tar", ".tar.xz", ".zip"])
def test_an_archive_is_as_its_tree(
    prepare: Prepare, tree: Path, pack: Callable[[Path, str], Path], suffix: str
) -> None:
    pack(tree, suffix)
    for number, options in enumerate(({}, {"test": None}, {"test": None, "test_fraction": 0.4, "seed": 3})):
        _, plain = prepare(f"plain{number}", f"state{number}", **options)
        _, packed = prepare(f"packed{number}", f"other{number}", path=f"packed{suffix}", **options)
        assert packed.classes == plain.classes
        for split in ("train", "test"):
            assert shown(packed.splits[split]) == shown(plain.splits[split])
            for i in range(len(plain.splits[split])):
                assert torch.equal(packed.splits[split].image(i), plain.splits[split].image(i))


def test_without_lists_a_share_is_split_off(prepare: Prepare, voc: Any, tmp_path: Path) -> None:
    something = voc.annotation(voc.marked("cat", (1, 1, 9, 9)))
    voc.write(tmp_path / "tree", {f"{i:02}": something if i % 2 else voc.annotation() for i in range(20)})
    _, dataset = prepare(test_fraction=0.3)
    names = [[name for name, *_ in shown(dataset.splits[split])] for split in ("train", "test")]
    assert sorted(names[0] + names[1]) == [f"{i:02}" for i in range(20)]
    assert len(names[1]) == 6
    assert sum(int(name) % 2 for name in names[1]) == 3  # of those with objects and those without alike
    _, again = prepare("again", "state2", test_fraction=0.3)
    _, other = prepare("other", "state3", test_fraction=0.3, seed=1)
    assert shown(again.test) == shown(dataset.test)
    assert shown(other.test) != shown(dataset.test)


def test_what_shows_something_is_learned_from(
    prepare: Prepare, voc: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    something = voc.annotation(voc.marked("cat", (1, 1, 9, 9)))
    voc.write(tmp_path / "tree", {"a": voc.annotation(), "b": something, "c": voc.annotation()})
    for seed in range(3):
        metrics, dataset = prepare(f"output{seed}", f"state{seed}", seed=seed)
        assert "b" in [name for name, *_ in shown(dataset.train)]
        assert (metrics["num_train"], metrics["num_test"]) == (2, 1)
    assert "tree: no test image shows an object that counts: there is nothing to measure" in caplog.text


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([], "1 annotated image is too few to split `test_fraction` off. Add some"),
        ([("cat", (1, 1, 9, 9))], "1 annotated image is too few to split `test_fraction` off. Add some"),
    ],
)
def test_one_image(prepare: Prepare, voc: Any, tmp_path: Path, objects: Any, message: str) -> None:
    voc.write(tmp_path / "tree", {"a": voc.annotation(*(voc.marked(*one) for one in objects))})
    with pytest.raises(DataError, match=message):
        prepare()


def test_one_image_to_learn_from_and_one_to_test_on(prepare: Prepare, voc: Any, tmp_path: Path) -> None:
    something = voc.annotation(voc.marked("cat", (1, 1, 9, 9)))
    voc.write(tmp_path / "tree", {"a": something, "b": something}, {"trainval": ["a"], "test": ["b"]})
    metrics, dataset = prepare()
    assert shown(dataset.train) == [("a", [[0, 0, 9, 9]], [0], [False])]
    assert metrics["num_objects"] == 2


@pytest.mark.parametrize("objects", [[], [("cat", (1, 1, 9, 9), 1)]])
def test_nothing_to_learn(
    prepare: Prepare, voc: Any, tmp_path: Path, objects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = voc.annotation(*(voc.marked(*one) for one in objects))
    voc.write(tmp_path / "tree", {"a": text, "b": text}, {"trainval": ["a"], "test": ["b"]})
    monkeypatch.setattr(packing, "_check", lambda chunk: pytest.fail("told before any image is packed"))
    with pytest.raises(DataError, match=r"^tree: nothing to learn: 1 training image, but no object, or none that is"):
        prepare()


@pytest.mark.parametrize("people", [False, True])
def test_what_is_said_of_people_reaches_what_draws(prepare: Prepare, tree: Path, people: bool) -> None:
    _, dataset = prepare(shows_people=people)
    assert dataset.shows_people == people
