"""The embedded dataset: what is blended, and what train and test share."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_sample_image
from sklearn.linear_model import LogisticRegression

from tessera.data.datasets import digits_m
from tessera.data.datasets.base import RawDataset
from tessera.data.datasets.digits_m import DigitsM
from tessera.data.datasets.options.digits import DigitsMOptions


@pytest.fixture(scope="module")
def raw() -> RawDataset:
    return DigitsM(DigitsMOptions(copies=2)).read(Path("nowhere"))


def test_labels_and_splits(raw: RawDataset) -> None:
    digits = load_digits().target
    assert raw.images.shape == (2 * 1797, 32, 32, 3)
    assert raw.images.dtype == np.uint8
    assert np.array_equal(raw.labels, np.tile(digits, 2))
    rows = np.concatenate([raw.splits["train"], raw.splits["test"]])
    assert sorted(rows.tolist()) == list(range(2 * 1797))
    assert not set(raw.splits["train"] % 1797) & set(raw.splits["test"] % 1797)  # no digit in both
    shares = np.bincount(raw.labels[raw.splits["test"]]) / np.bincount(raw.labels)
    assert np.allclose(shares, 0.3, atol=0.01)


def test_each_image_is_a_crop_less_its_digit(raw: RawDataset) -> None:
    """Found again by search: |crop - digit| for some crop of the tiles that the split may see."""
    masks = digits_m.enlarge(load_digits().images[:40], 32)
    regions = dict(zip(("train", "test"), digits_m._regions(), strict=True))
    for split, rows in raw.splits.items():
        for row in rows[rows < 40][:3]:
            image = raw.images[row].astype(np.float32)
            assert min(_nearest(image, masks[row], region) for region in regions[split]) <= 0.5


@pytest.mark.parametrize("size", [16, 40])
def test_images_of_another_size_show_the_same_digits_over_crops_of_that_size(size: int, raw: RawDataset) -> None:
    other = DigitsM(DigitsMOptions(copies=2, image_size=size)).read(Path("nowhere"))
    assert other.images.shape == (2 * 1797, size, size, 3)
    assert all(np.array_equal(other.splits[name], rows) for name, rows in raw.splits.items())
    assert all(np.array_equal(other.columns[name].labels, raw.columns[name].labels) for name in raw.columns)
    assert other.columns["zoom"].classes == [f"crop_{size * factor}_px" for factor in (1, 2, 4)]
    masks = digits_m.enlarge(load_digits().images, size)
    assert masks.shape == (1797, size, size)
    assert masks.std(axis=(1, 2)).min() > 10


def _nearest(image: np.ndarray, mask: np.ndarray, region: np.ndarray) -> float:
    best = np.inf
    for view in (image, image[:, ::-1]):
        digit = mask if view is image else mask[:, ::-1]
        for top in range(region.shape[0] - 31):
            strip = np.lib.stride_tricks.sliding_window_view(region[top : top + 32], 32, axis=1)  # (32, n, 3, 32)
            corner = np.abs(strip[0, :, :, 0] - digit[0, 0]) - view[0, 0]
            for left in np.flatnonzero(np.abs(corner).max(axis=1) <= 0.5):
                crop = region[top : top + 32, left : left + 32]
                best = min(best, np.abs(np.abs(crop - digit[..., None]) - view).max())
    return best


def test_train_and_test_see_other_parts_of_the_photographs() -> None:
    """Seen through photographs whose pixels name their tile."""
    height, width = load_sample_image("china.jpg").shape[:2]
    rows, columns = np.indices((height, width))
    number = (rows // (height // 2)).clip(max=1) * 4 + columns // (width // 4)
    painted = np.repeat(number[..., None], 3, axis=2).astype(np.uint8)
    original = digits_m.load_sample_image
    try:
        digits_m.load_sample_image = lambda name: painted
        for_training, for_testing = digits_m._regions()
    finally:
        digits_m.load_sample_image = original
    seen = [set(np.concatenate([region.ravel() for region in part]).tolist()) for part in (for_training, for_testing)]
    assert seen == [{0, 1, 3, 4, 6, 7}, {2, 5}]
    assert all(min(region.shape[:2]) >= 32 for region in for_training + for_testing)


def test_a_seed_repeats(raw: RawDataset) -> None:
    again = DigitsM(DigitsMOptions(copies=2)).read(Path("nowhere"))
    other = DigitsM(DigitsMOptions(copies=2, seed=1)).read(Path("nowhere"))
    assert np.array_equal(again.images, raw.images)
    assert not np.array_equal(other.images, raw.images)
    assert not np.array_equal(other.splits["test"], raw.splits["test"])
    assert not np.array_equal(raw.images[:1797], raw.images[1797:])  # copies differ


def test_colour_alone_tells_nothing_of_the_class(raw: RawDataset) -> None:
    """A classifier of mean colours stays near chance (10 %): pretraining cannot win by the background."""
    colours = raw.images.mean(axis=(1, 2)) / 255
    train, test = raw.splits["train"], raw.splits["test"]
    classifier = LogisticRegression(max_iter=500).fit(colours[train], raw.labels[train])
    assert classifier.score(colours[test], raw.labels[test]) < 0.18
