"""Colours against values from the literature and dense, plain computations."""

import math

import pytest
import torch
from torch.testing import assert_close

from tessera.tasks.color import (
    BITS,
    annealed_mean,
    bin_centers,
    class_weights,
    color_table,
    lab_from_rgb,
    lightness,
    sample_points,
    smooth_prior,
    soft_code,
    table_entry,
)


@pytest.mark.parametrize(
    ("color", "lab"),
    [
        ((1.0, 1.0, 1.0), (100.0, 0.0, 0.0)),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0), (53.24, 80.09, 67.20)),
        ((0.0, 1.0, 0.0), (87.73, -86.18, 83.18)),
        ((0.0, 0.0, 1.0), (32.30, 79.19, -107.86)),
        ((0.0, 1.0, 1.0), (91.11, -48.09, -14.13)),
        ((0.5, 0.5, 0.5), (53.39, 0.0, 0.0)),
    ],
)  # Lindbloom's calculator, sRGB, D65
def test_lab_of_known_colors(color: tuple[float, ...], lab: tuple[float, ...]) -> None:
    found = lab_from_rgb(torch.tensor(color, dtype=torch.float64))
    assert_close(found, torch.tensor(lab, dtype=torch.float64), atol=0.01, rtol=0)


def test_lightness_is_the_first_channel_of_lab() -> None:
    images = torch.randint(256, (2, 3, 5, 5), dtype=torch.uint8)
    lab = lab_from_rgb(images.movedim(1, -1).double() / 255)
    assert_close(lightness(images)[:, 0].double(), lab[..., 0], atol=1e-3, rtol=0)


def test_official_bins_are_the_released_ones() -> None:
    centers = bin_centers("official313")
    counts = [5, 8, 10, 12, 14, 15, 16, 16, 17, 18, 18, 18, 19, 20, 19, 20, 20, 19, 19, 10]
    assert centers[:, 0].unique(return_counts=True)[1].tolist() == counts  # type: ignore[no-untyped-call]
    assert centers.shape == (313, 2)
    assert centers[[0, 4, 5, -1]].tolist() == [[-90, 50], [-90, 90], [-80, 20], [100, 0]]
    assert centers.tolist() == sorted(centers.tolist())


@pytest.mark.parametrize("step", [15, pytest.param(1, marks=pytest.mark.slow)])
def test_gamut_bins_are_nearest_to_some_color(step: int) -> None:
    levels = torch.arange(0, 256, step) / 255
    found: set[tuple[float, ...]] = set()
    for red in levels:
        ab = lab_from_rgb(torch.cartesian_prod(red[None], levels, levels))[:, 1:]
        found |= {tuple(point) for point in ((ab / 10).round() * 10).unique(dim=0).tolist()}  # type: ignore[no-untyped-call]
    bins = {tuple(point) for point in bin_centers("gamut_nn").tolist()}
    assert len(bins) == 261
    assert bins <= {tuple(point) for point in bin_centers("official313").tolist()}
    assert found <= bins
    assert len(found) == 261 or step > 1
    assert len(found) > 240


def test_soft_code_at_a_center() -> None:
    bins, weights = soft_code(torch.tensor([[10.0, 20.0]]), bin_centers("official313"), 5, 5.0)
    assert bin_centers("official313")[bins[0, 0]].tolist() == [10.0, 20.0]
    assert_close(weights[0], torch.tensor([0.6488, 0.0878, 0.0878, 0.0878, 0.0878]), atol=5e-5, rtol=0)


@pytest.mark.parametrize("neighbors", [1, 5, 10])
def test_soft_code_by_sorting(neighbors: int) -> None:
    centers, colors = bin_centers("gamut_nn"), torch.rand(20, 2) * 160 - 80
    bins, weights = soft_code(colors, centers, neighbors, 7.0)
    for color, mine, mine_weights in zip(colors.tolist(), bins, weights, strict=True):
        order = sorted(range(len(centers)), key=lambda q: math.dist(color, centers[q].tolist()))[:neighbors]
        assert mine.tolist() == order
        raw = [math.exp(-(math.dist(color, centers[q].tolist()) ** 2) / (2 * 49)) for q in order]
        assert_close(mine_weights, torch.tensor([r / sum(raw) for r in raw]), atol=1e-5, rtol=1e-4)


def test_the_table_stands_for_every_color_nearby() -> None:
    table = color_table("official313", 5, 5.0)
    assert len(table.ab) == 2 ** (3 * BITS)
    pixels = torch.randint(256, (1, 3, 4000), dtype=torch.uint8)
    entries = table_entry(pixels)[0]
    exact = lab_from_rgb(pixels[0].T.double() / 255)
    error = (table.ab[entries].double() - exact[:, 1:]).norm(dim=1)
    assert error.mean() < 1.0
    assert error.max() < 8.0  # near black the curve is steep
    nearest = soft_code(exact[:, 1:].float(), bin_centers("official313"), 1, 5.0)[0][:, 0]
    assert (table.bins[entries, 0] == nearest).float().mean() > 0.85
    assert_close(table.weights.sum(dim=1), torch.ones(len(table.ab)))


def test_grays_have_no_color_in_the_table() -> None:
    table = color_table("official313", 5, 5.0)
    grays = torch.arange(256, dtype=torch.uint8).expand(1, 3, 256)
    assert table.ab[table_entry(grays)].abs().max() < 0.01


@pytest.mark.parametrize(("size", "grid"), [(32, 16), (64, 16), (96, 24), (30, 16)])
def test_points_are_the_middle_pixels(size: int, grid: int) -> None:
    rows = torch.arange(size).view(1, 1, size, 1).expand(1, 3, size, size)
    points = sample_points(rows, grid)[0, 0, :, 0]
    middles = (torch.arange(grid) + 0.5) * size / grid - 0.5
    assert (points - middles).abs().max() <= 0.5


def test_prior_by_plain_loops() -> None:
    centers = bin_centers("gamut_nn")[:40]
    counts = torch.zeros(40, dtype=torch.int64)
    counts[3], counts[20] = 7, 2
    expected = [0.0] * 40
    for bin_from in (3, 20):
        raw = [math.dist(centers[bin_from].tolist(), c.tolist()) for c in centers]
        raw = [math.exp(-(d**2) / 50) if d <= 15 else 0.0 for d in raw]
        for q in range(40):
            expected[q] += counts[bin_from].item() / 9 * raw[q] / sum(raw)
    prior = smooth_prior(counts, centers, 5.0)
    assert_close(prior, torch.tensor(expected), atol=1e-6, rtol=1e-5)
    assert (prior == 0).sum() > 10


def test_class_weights() -> None:
    prior = torch.tensor([0.5, 0.3, 0.2, 0.0])
    raw = [1 / (0.5 * p + 0.5 / 3) for p in (0.5, 0.3, 0.2)]
    scale = sum(p * w for p, w in zip((0.5, 0.3, 0.2), raw, strict=True))
    expected = torch.tensor([*raw, max(raw)]) / scale
    assert_close(class_weights(prior, 0.5), expected)
    assert_close(class_weights(prior, 1.0), torch.ones(4))
    assert class_weights(prior, 0.0).isfinite().all()


def test_annealed_mean() -> None:
    logits = torch.tensor([0.6, 0.4]).log().view(1, 2, 1, 1) + 3.0
    decoded = annealed_mean(logits, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert_close(decoded.flatten(), torch.tensor([0.744, 0.256]), atol=5e-4, rtol=0)
