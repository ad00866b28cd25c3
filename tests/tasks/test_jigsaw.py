"""Puzzles: geometry, label convention, shortcut prevention."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from tessera.tasks.base import ImageStatistics, TaskBatch
from tessera.tasks.jigsaw import Jigsaw
from tessera.tasks.options.puzzles import JigsawOptions
from tessera.tasks.puzzle import unshuffle

CPU = torch.device("cpu")


def make(size: int = 32, **options: Any) -> Jigsaw:
    chosen = JigsawOptions(**({"permutations": 7} | options))
    prepared = Jigsaw.prepare(chosen, size, None, torch.Generator())
    return Jigsaw(chosen, ImageStatistics(size, (0.5,) * 3, (0.2,) * 3), prepared, CPU)


def draw(task: Jigsaw, images: Tensor, seed: int = 0) -> TaskBatch:
    return task.make_batch(images, {}, torch.Generator().manual_seed(seed))


def noise(number: int, size: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(256, (number, 3, size, size), generator=generator, dtype=torch.uint8)


def located(tile: Tensor, image: Tensor) -> tuple[int, int]:
    """Where a normalised tile lies in the image, by trying every place."""
    side = tile.shape[-1]
    cuts = image.float().unfold(1, side, 1).unfold(2, side, 1).permute(1, 2, 0, 3, 4)  # (row, column, c, side, side)
    cuts = (cuts - cuts.mean((3, 4), keepdim=True)) / cuts.std((3, 4), keepdim=True, correction=0)
    found = ((cuts - tile).abs() < 2e-4).all(dim=(2, 3, 4)).nonzero().tolist()
    assert len(found) == 1
    row, column = found[0]
    return row, column


def test_each_tile_lies_in_the_cell_that_the_label_names() -> None:
    task, images = make(gray=0, channel_shift_px=0), noise(3)
    batch = draw(task, images)
    tiles = batch.inputs.view(3, 9, 3, 8, 8)
    corners_seen = set()
    for image, label, puzzle in zip(images, batch.labels, tiles, strict=True):
        permutation = task.permutations[label].tolist()
        places = [located(tile, image) for tile in puzzle]
        # The crop starts at most 32 - 30 px in; within a cell of 10 px a tile of 8 px moves by at most 2 px.
        crops = []
        for (row, column), cell in zip(places, permutation, strict=True):
            assert 0 <= row - 10 * (cell // 3) <= 4
            assert 0 <= column - 10 * (cell % 3) <= 4
            crops.append((row - 10 * (cell // 3), column - 10 * (cell % 3)))
        assert max(r for r, _ in crops) - min(r for r, _ in crops) <= 2  # one crop for all tiles
        assert max(c for _, c in crops) - min(c for _, c in crops) <= 2
        corners_seen |= set(crops)
    assert len(corners_seen) > 5  # jitter moves tiles one by one


def test_unshuffling_restores_the_image() -> None:
    # Without room for jitter or crop the puzzle is the image itself; a ramp makes every tile's mean differ.
    task = make(30, cell_px=10, tile_px=10, input_px=10, gray=0, channel_shift_px=0)
    images = noise(4, 30)
    batch = draw(task, images)
    tiles = unshuffle(batch.inputs.view(4, 9, 3, 10, 10), task.permutations[batch.labels])
    cells = images.float().unfold(2, 10, 10).unfold(3, 10, 10).permute(0, 2, 3, 1, 4, 5).reshape(4, 9, 3, 10, 10)
    deviation, mean = torch.std_mean(cells, dim=(3, 4), correction=0, keepdim=True)
    assert_close(tiles, (cells - mean) / deviation)


def test_every_permutation_is_shown_about_equally_often() -> None:
    labels = draw(make(permutations=4), noise(1).expand(2000, -1, -1, -1)).labels
    assert_close(labels.bincount(minlength=4) / 2000, torch.full((4,), 0.25), atol=0.05, rtol=0)


def test_tiles_have_mean_0_and_deviation_1_and_flat_ones_are_0() -> None:
    images = noise(6)
    images[0] = 77
    tiles = draw(make(input_px=8), images).inputs
    deviation, mean = torch.std_mean(tiles, dim=(2, 3), correction=0)
    assert_close(mean, torch.zeros_like(mean), atol=1e-5, rtol=0)
    assert_close(deviation[9:], torch.ones_like(deviation[9:]), atol=1e-5, rtol=0)
    assert (tiles[:9].abs() < 0.01).all()


@pytest.mark.parametrize(("probability", "shares"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)])
def test_whole_puzzles_are_gray_with_the_given_probability(probability: float, shares: float) -> None:
    tiles = draw(make(gray=probability, channel_shift_px=0), noise(400)).inputs.view(400, 9, 3, 8, 8)
    equal = (tiles - tiles[:, :, :1]).abs().amax(dim=(2, 3, 4)) < 1e-4  # (400, 9)
    assert torch.equal(equal.all(dim=1), equal.any(dim=1))  # all nine tiles or none
    assert abs(equal.all(dim=1).float().mean() - shares) < 0.08


def test_gray_is_the_luma() -> None:
    task = make(30, cell_px=10, tile_px=10, input_px=10, gray=1.0, channel_shift_px=0)
    images = noise(1, 30)
    batch = draw(task, images)
    first = unshuffle(batch.inputs.view(1, 9, 3, 10, 10), task.permutations[batch.labels])[0, 0, 0]
    red, green, blue = images[0, :, :10, :10].double()
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert_close(first.double(), (luma - luma.mean()) / luma.std(correction=0), atol=1e-4, rtol=0)


def test_channels_are_cut_apart_by_at_most_the_shift_and_stay_in_their_cell() -> None:
    images = noise(16)
    images[:, 1:] = images[:, :1]  # three equal channels: where one differs from another, it was cut elsewhere
    task = make(gray=0, channel_shift_px=2)
    batch = draw(task, images)
    seen = set()
    for image, label, puzzle in zip(images, batch.labels, batch.inputs.view(16, 9, 3, 8, 8), strict=True):
        for tile, cell in zip(puzzle, task.permutations[label].tolist(), strict=True):
            places = [located(channel[None], image[:1]) for channel in tile]
            apart = [(a - c, b - d) for a, b in places for c, d in places]
            assert max(max(pair) for pair in apart) <= 2
            assert all(0 <= row - 10 * (cell // 3) <= 4 for row, _ in places)
            seen |= set(apart)
    assert len(seen) == 25  # every difference from -2 to 2, in both directions


def test_tiles_are_enlarged_to_the_preset() -> None:
    assert draw(make(64), noise(2, 64)).inputs.shape == (18, 3, 48, 48)
    assert draw(make(96), noise(2, 96)).inputs.shape == (18, 3, 64, 64)
    small = draw(make(64, input_px=17), noise(2, 64)).inputs
    assert_close(
        draw(make(64), noise(2, 64)).inputs, F.interpolate(small, size=48, mode="bilinear"), atol=1e-5, rtol=1e-5
    )


def test_the_set_depends_on_its_own_seed_alone() -> None:
    def prepared(seed: int, generator_seed: int) -> Tensor:
        options = JigsawOptions(permutations=5, permutation_seed=seed)
        return Jigsaw.prepare(options, 32, None, torch.Generator().manual_seed(generator_seed))["permutations"]

    assert torch.equal(prepared(0, 1), prepared(0, 2))
    assert not torch.equal(prepared(0, 1), prepared(1, 1))


def test_the_head_sees_its_nine_tiles_in_order_and_no_others() -> None:
    task = make()
    head = task.build_head(4)
    features = torch.randn(18, 4, 2, 2, requires_grad=True)
    prediction = head(features)
    assert prediction.shape == (2, 7)
    (gradient,) = torch.autograd.grad(prediction[0].sum(), features)
    assert gradient[:9].flatten(1).any(dim=1).all()
    assert not gradient[9:].any()
    swapped = features.detach().clone()
    swapped[[0, 1]] = swapped[[1, 0]]
    assert not torch.allclose(head(swapped)[0], prediction[0])


def test_dropout_and_hidden_reach_the_head() -> None:
    head = make(hidden=33, dropout=0.4).build_head(4)
    assert [m.p for m in head.modules() if isinstance(m, torch.nn.Dropout)] == [0.4, 0.4]
    assert [m.out_features for m in head.modules() if isinstance(m, torch.nn.Linear)] == [128, 33, 7]


def test_loss_accuracy_and_chance() -> None:
    task = make()
    uniform, labels = torch.zeros(5, 7), torch.tensor([0, 1, 2, 0, 0])
    assert_close(task.loss(uniform, labels).item(), math.log(7), atol=1e-6, rtol=0)
    assert task.chance() == {"loss": math.log(7), "accuracy": 1 / 7}
    assert_close(task.metrics(uniform, labels)["accuracy"].item(), 0.6)
