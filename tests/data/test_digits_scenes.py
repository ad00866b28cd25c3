"""Digits on photographs with boxes: that the boxes are right, and that nothing of the test is seen in training."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou

from tessera.data.datasets import digits_scenes
from tessera.data.datasets.base import ListedObjects
from tessera.data.datasets.digits_m import tiles
from tessera.data.datasets.digits_scenes import DigitsScenes
from tessera.data.datasets.options.digits import DigitsScenesOptions
from tessera.data.detection import load_detection
from tessera.data.prepare import prepare_dataset


def listed(**options: int) -> ListedObjects:
    return DigitsScenes(DigitsScenesOptions(**{"num_train": 40, "num_test": 20, **options})).read(Path("nowhere"))


def encoded(found: ListedObjects, start: int = 0) -> list[bytes]:
    return [one.read() for one in found.images.read(start)]


def test_objects() -> None:
    found = listed()
    assert {name: len(rows) for name, rows in found.images.splits.items()} == {"train": 40, "test": 20}
    assert found.images.classes == [str(i) for i in range(10)]
    numbers, sides = set(), []
    for row in range(60):
        objects = found.objects.of(row)
        numbers.add(len(objects))
        sides += (objects.boxes[:, 2:] - objects.boxes[:, :2]).amax(dim=1).tolist()
        assert not objects.difficult.any()
        assert objects.boxes.min() >= 0
        assert objects.boxes.max() <= 128
        overlap = box_iou(objects.boxes, objects.boxes).fill_diagonal_(0)
        assert overlap.max() <= 0.02
    assert numbers == {1, 2, 3, 4}
    assert min(sides) < 32 < 56 < max(sides)  # of various sizes
    assert len(np.unique(found.objects.labels)) == 10


def test_boxes_are_tight_about_the_ink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen on a black photograph, where all that is there is ink."""
    black = np.zeros((200, 200, 3), dtype=np.float32)
    monkeypatch.setattr(digits_scenes, "tiles", lambda: ([black], [black]))
    found = listed(num_train=10, num_test=1)
    for row, data in enumerate(encoded(found)):
        with Image.open(io.BytesIO(data)) as image:
            ink = torch.from_numpy(np.array(image)[..., 0] >= digits_scenes.INK)
        objects = found.objects.of(row)
        assert len(objects)
        for x1, y1, x2, y2 in objects.boxes.int().tolist():
            inside = ink[y1:y2, x1:x2]
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
            ink[y1:y2, x1:x2] = False
        assert not ink.any()


def test_a_seed_repeats_from_any_row_on() -> None:
    whole, again, other = (encoded(listed(num_train=6, num_test=2, seed=seed)) for seed in (0, 0, 1))
    assert whole == again
    assert encoded(listed(num_train=6, num_test=2), 5) == whole[5:]
    assert len(set(whole) | set(other)) == 16
    more = encoded(listed(num_train=8, num_test=2))
    assert more[:6] == whole[:6]
    assert more[8:] == whole[6:]  # the test does not depend on how much is learned from


def test_training_and_test_share_no_digit_and_no_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    stocks = []
    drawn = digits_scenes._Scene.drawn

    def noted(stock: digits_scenes._Stock, size: int, random: np.random.Generator) -> digits_scenes._Scene:
        stocks.append(stock)
        return drawn(stock, size, random)

    monkeypatch.setattr(digits_scenes._Scene, "drawn", noted)
    listed(num_train=1, num_test=1)
    train, test = stocks
    assert not set(train.rows.tolist()) & set(test.rows.tolist())
    assert len(train.rows) + len(test.rows) == 1797
    for_training, for_testing = tiles()  # that they are disjoint is tested of digits_m
    assert all(np.array_equal(a, b) for a, b in zip(train.tiles, for_training, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(test.tiles, for_testing, strict=True))
    assert (len(for_training), len(for_testing)) == (12, 4)


def test_prepared(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    options = DigitsScenesOptions(num_train=12, num_test=4, image_size=96)
    metrics = prepare_dataset(options, tmp_path, tmp_path / "output")
    dataset = load_detection(tmp_path / "output")
    assert (metrics["num_train"], metrics["num_test"], metrics["num_classes"]) == (12, 4, 10)
    assert metrics["num_objects"] == sum(len(dataset.train.objects(i)) for i in range(12)) + sum(
        len(dataset.test.objects(i)) for i in range(4)
    )
    assert dataset.train.image(3).shape == (3, 96, 96)
    assert dataset.test.name(2) == "test/00002.png"
    assert options.strict() == options
    assert set(options.label_columns().values()) == {"boxes"}
