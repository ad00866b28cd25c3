"""The soft cut against loops over all pairs of pixels."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from tessera.models.heads.maps import Segments
from tessera.tasks.base import ImageStatistics
from tessera.tasks.options.maps import SegmentationOptions
from tessera.tasks.segmentation import Segmentation, SegmentLabels
from tessera.tasks.soft_cut import half_offsets, neighborhood_sum, pair_weights, soft_normalized_cut


def dense_cut(shares: Tensor, intensity: Tensor, sigma_i: float, sigma_x: float, radius: float) -> Tensor:
    """Xia & Kulis, Eq. 3, for one image, with the matrix of all pairs."""
    height, width = intensity.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]
    matrix = torch.zeros(len(pixels), len(pixels), dtype=shares.dtype)
    for i, (y, x) in enumerate(pixels):
        for j, (v, u) in enumerate(pixels):
            distance = math.hypot(y - v, x - u)
            if distance < radius:
                difference = (intensity[y, x] - intensity[v, u]).item()
                matrix[i, j] = math.exp(-((difference / sigma_i) ** 2)) * math.exp(-((distance / sigma_x) ** 2))
    total = shares.new_tensor(float(len(shares)))
    for share in shares.flatten(1):
        total = total - (share @ matrix @ share) / (share @ matrix.sum(dim=1))
    return total


def cut(shares: Tensor, intensity: Tensor, sigma_i: float = 10, sigma_x: float = 4, radius: float = 5) -> Tensor:
    offsets = half_offsets(radius)
    weights = pair_weights(intensity, offsets, sigma_i, sigma_x)
    degrees = neighborhood_sum(torch.ones_like(intensity)[:, None], weights, offsets)
    return soft_normalized_cut(shares, weights, degrees, offsets)


@pytest.mark.parametrize(("radius", "number"), [(5.0, 69), (1.5, 9), (1.1, 5), (2.0, 9), (4.0, 45)])
def test_offsets_within_the_radius(radius: float, number: int) -> None:
    """With radius 2 the pixel two steps away is not nearer than 2."""
    half = half_offsets(radius)
    both = {*half, *((-y, -x) for y, x in half), (0, 0)}
    assert both == {(y, x) for y in range(-9, 10) for x in range(-9, 10) if math.hypot(y, x) < radius}
    assert len(both) == 2 * len(half) + 1 == number


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [((6, 6), (10, 4, 5)), ((5, 7), (60, 2, 2.5)), ((3, 4), (30, 4, 9)), ((4, 4), (40, 3, 16))],
)
def test_value_and_gradient_are_those_of_the_dense_matrix(
    shape: tuple[int, int], arguments: tuple[float, float, float]
) -> None:
    intensity = torch.rand(2, *shape, dtype=torch.float64) * 80
    shares = torch.randn(2, 3, *shape, dtype=torch.float64).softmax(dim=1).requires_grad_()
    mine = cut(shares, intensity, *arguments)
    dense = torch.stack([dense_cut(s, i, *arguments) for s, i in zip(shares, intensity, strict=True)])
    assert_close(mine, dense, rtol=1e-10, atol=1e-10)
    factors = torch.tensor([1.0, -2.5], dtype=torch.float64)
    (gradient,) = torch.autograd.grad((mine * factors).sum(), shares)
    assert_close(gradient, torch.autograd.grad((dense * factors).sum(), shares)[0], rtol=1e-9, atol=1e-12)


def test_two_tone_image() -> None:
    intensity = torch.zeros(3, 4, 4)
    intensity[:, :, 2:] = 255
    vertical = torch.zeros(2, 4, 4)
    vertical[0, :, :2] = vertical[1, :, 2:] = 1
    shares = torch.stack([vertical, vertical.transpose(1, 2), torch.full_like(vertical, 0.5)])
    assert_close(cut(shares, intensity), torch.tensor([0.0, 0.88308, 1.0]), atol=1e-5, rtol=0)


def test_one_segment_for_everything_is_no_better_than_none() -> None:
    intensity = torch.rand(1, 6, 6) * 255
    logits = torch.full((1, 4, 6, 6), -200.0)
    logits[:, 0] = 200.0
    logits.requires_grad_()
    value = cut(logits.softmax(dim=1), intensity)
    assert_close(value, torch.tensor([3.0]))
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert gradient.isfinite().all()


def test_relabelling_and_bounds() -> None:
    intensity, shares = torch.rand(2, 8, 8) * 255, torch.randn(2, 5, 8, 8).softmax(dim=1)
    value = cut(shares, intensity)
    assert_close(cut(shares[:, [3, 1, 4, 0, 2]], intensity), value)
    assert ((value > 0) & (value < 5)).all()


def test_asking_for_a_second_derivative_is_refused() -> None:
    shares = torch.randn(1, 2, 4, 4).softmax(dim=1).requires_grad_()
    (gradient,) = torch.autograd.grad(cut(shares, torch.rand(1, 4, 4)).sum(), shares, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()  # type: ignore[no-untyped-call]


STATISTICS = ImageStatistics(32, (0.5,) * 3, (0.2,) * 3)


def make(**options: Any) -> Segmentation:
    chosen = SegmentationOptions(**({"segments": 3, "radius": 2.5} | options))
    return Segmentation(chosen, STATISTICS, {}, torch.device("cpu"))


def images() -> Tensor:
    return torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def labels_of(task: Segmentation, seed: int = 0) -> SegmentLabels:
    labels: SegmentLabels = task.make_batch(images(), {}, torch.Generator().manual_seed(seed)).labels
    return labels


def prediction_of(num_segments: int = 3) -> Segments:
    generator = torch.Generator().manual_seed(9)
    shares = torch.randn(4, num_segments, 16, 16, generator=generator).softmax(dim=1)
    return Segments(shares, torch.rand(4, 3, 16, 16, generator=generator))


def test_labels_are_the_pooled_view_in_levels_of_255() -> None:
    task = make(sigma_intensity=20.0)
    batch = task.make_batch(images(), {}, torch.Generator().manual_seed(0))
    pixels = batch.inputs * 0.2 + 0.5
    pooled = pixels.view(4, 3, 16, 2, 16, 2).mean(dim=(3, 5))
    assert_close(batch.labels.image, pooled)
    expected = torch.stack([dense_cut(s, i, 20, 4, 2.5) for s, i in zip(
        prediction_of().shares, 255 * pooled.mean(dim=1), strict=True)]).mean()  # fmt: skip
    assert_close(task.metrics(prediction_of(), batch.labels)["cut"], expected, rtol=1e-4, atol=1e-5)


def test_the_loss_sums_its_parts() -> None:
    figures = make().metrics(prediction_of(), labels := labels_of(make()))
    squared = (prediction_of().image - labels.image).square().sum() / (4 * 16 * 16)
    assert_close(figures["squared_error"], squared)
    loss = make(cut_weight=0.5, reconstruction_weight=2.0).loss(prediction_of(), labels)
    assert_close(loss, 0.5 * figures["cut"] / 3 + 2 * squared)
    whole = make(divide_by_segments=False).loss(prediction_of(), labels)
    assert_close(whole, figures["cut"] + squared)


def test_taking_turns() -> None:
    task = make(alternate=True)
    turns = torch.stack([labels_of(task, seed).turns for seed in range(60)])
    assert torch.equal(turns.sum(dim=1), torch.ones(60))
    assert 15 < turns[:, 0].sum() < 45
    both = labels_of(make())
    for turn, options in (([1.0, 0.0], {"reconstruction_weight": 0.0}), ([0.0, 1.0], {"cut_weight": 0.0})):
        alone = make(**options).loss(prediction_of(), both)
        assert_close(task.loss(prediction_of(), both._replace(turns=torch.tensor(turn))), alone)


def test_used_segments() -> None:
    shares = F.one_hot(torch.arange(16) % 2, 3).float().T.view(1, 3, 16, 1).expand(4, -1, -1, 16)
    figures = make().metrics(prediction_of()._replace(shares=shares), labels_of(make()))
    assert_close(figures["used_segments"], torch.tensor(2.0))


def test_chance_is_the_cut_of_equal_shares() -> None:
    task = make(segments=7)
    equal = Segments(torch.full((4, 7, 16, 16), 1 / 7), torch.zeros(4, 3, 16, 16))
    assert_close(task.metrics(equal, labels_of(task))["cut"].item(), task.chance()["cut"], rtol=1e-5, atol=0)


def test_the_head_predicts_distributions_and_an_image_from_them_alone() -> None:
    head = make(hidden=16).build_head(4)
    prediction = head(torch.randn(2, 4, 8, 8))
    assert_close(prediction.shares.sum(dim=1), torch.ones(2, 16, 16))
    assert ((prediction.image > 0) & (prediction.image < 1)).all()
    (gradient,) = torch.autograd.grad(prediction.image[0].sum(), prediction.shares, retain_graph=True)
    assert gradient[0].any()
