"""Rotation prediction: direction and number of turns, against NumPy and single pixels."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tessera.data.views import to_unit
from tessera.tasks.base import ImageStatistics, TaskBatch, random_views
from tessera.tasks.options.patches import RotationOptions
from tessera.tasks.rotation import Rotation, turned

CPU = torch.device("cpu")


def make(size: int = 32, **options: Any) -> Rotation:
    return Rotation(RotationOptions(**options), ImageStatistics(size, (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)), {}, CPU)


def draw(task: Rotation, images: Tensor, seed: int = 0) -> TaskBatch:
    return task.make_batch(images, {}, torch.Generator().manual_seed(seed))


def noise(number: int, size: int = 32) -> Tensor:
    return torch.randint(256, (number, 3, size, size), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)


def test_a_turn_is_counter_clockwise() -> None:
    image = torch.zeros(4, 1, 3, 3)
    image[:, 0, 0, 2] = 1.0  # top right; a quarter turn counter-clockwise brings it to the top left
    corners = [(0, 2), (0, 0), (2, 0), (2, 2)]
    for shown, (row, column) in zip(turned(image, torch.arange(4)), corners, strict=True):
        assert shown.nonzero().tolist() == [[0, row, column]]


def test_each_image_is_turned_as_its_label_says() -> None:
    task, images = make(), noise(40)
    batch = draw(task, images)
    views = random_views(images, torch.Generator().manual_seed(0))  # drawn first, from the same seed
    for view, label, shown in zip(views, batch.labels, batch.inputs, strict=True):
        right = np.rot90(view.numpy(), int(label), axes=(1, 2)).copy()
        assert torch.equal(task.denormalize(shown[None])[0], torch.from_numpy(right))
    assert batch.labels.unique().tolist() == [0, 1, 2, 3]


def test_inputs_are_normalised() -> None:
    batch = draw(make(), torch.full((2, 3, 32, 32), 51, dtype=torch.uint8))  # 0.2
    found = [batch.inputs[:, channel].max().item() for channel in range(3)]  # the frame of zeros is darker
    assert found == pytest.approx([(0.2 - 0.4) / 0.2, (0.2 - 0.5) / 0.3, (0.2 - 0.6) / 0.1], abs=1e-5)


def test_all_turns_shows_the_four_copies_of_an_image_side_by_side() -> None:
    task, images = make(all_turns=True), noise(3)
    batch = draw(task, images)
    assert batch.labels.tolist() == [0, 1, 2, 3] * 3
    views = task.normalize(to_unit(random_views(images, torch.Generator().manual_seed(0))))
    for index, copies in enumerate(batch.inputs.view(3, 4, 3, 32, 32)):
        for turn, copy in enumerate(copies):
            assert torch.equal(copy, views[index].rot90(turn, dims=(1, 2)))


def test_labels_are_drawn_evenly() -> None:
    counts = draw(make(8), noise(4000, 8)).labels.bincount(minlength=4)
    assert counts.sum() == 4000
    # Six standard deviations of a binomial count around 1,000.
    assert (counts - 1000).abs().max() < 6 * (4000 * 0.25 * 0.75) ** 0.5


def test_the_preview_turns_back() -> None:
    task, images = make(), noise(6)
    batch = draw(task, images)
    logits = torch.nn.functional.one_hot(batch.labels, 4).float()
    preview = task.preview(batch, logits, 4)
    assert list(preview.views) == ["shown", "turned back", "right"]
    assert torch.equal(preview.views["turned back"], preview.views["right"])
    assert torch.equal(preview.views["right"], random_views(images, torch.Generator().manual_seed(0))[:4])
    assert preview.caption == "4 of 4 rotations are right."
    wrong = task.preview(batch, logits.roll(1, dims=1), 4)
    assert_close(wrong.views["turned back"], turned(preview.views["right"], torch.full((4,), 3)))
    assert wrong.caption == "0 of 4 rotations are right."
