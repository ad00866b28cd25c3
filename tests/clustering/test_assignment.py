"""Soft assignment, target distribution and their divergence: golden numbers, plain loops, gradients."""

import math

import torch
from torch import Tensor
from torch.testing import assert_close

from tessera.clustering.assignment import divergence, log_soft_assignment, squared_distances, target_distribution


def loop_assignment(points: Tensor, centers: Tensor) -> Tensor:
    """Eq. (1) of the paper, point by point; differentiable."""
    rows = []
    for point in points:
        kernel = [1 / (1 + ((point - center) ** 2).sum()) for center in centers]
        rows.append(torch.stack([value / sum(kernel) for value in kernel]))
    return torch.stack(rows)


def loop_target(soft: list[list[float]]) -> list[list[float]]:
    """Eq. (3) of the paper, entry by entry."""
    clusters = range(len(soft[0]))
    size = [sum(row[j] for row in soft) for j in clusters]
    rows = []
    for row in soft:
        weights = [row[j] ** 2 / size[j] for j in clusters]
        rows.append([weight / sum(weights) for weight in weights])
    return rows


def test_golden_kernel() -> None:
    found = log_soft_assignment(torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])).exp()
    assert_close(found, torch.tensor([[0.58824, 0.29412, 0.11765]]), rtol=0, atol=1e-5)


def test_golden_target_and_divergence() -> None:
    soft = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    target = target_distribution(soft)
    assert_close(target, torch.tensor([[0.9841, 0.0159], [0.6324, 0.3676], [0.0456, 0.9544]]), rtol=0, atol=5e-5)
    assert_close(divergence(target, soft.log()), torch.tensor(0.053965), rtol=0, atol=1e-6)


def test_values_equal_plain_loops() -> None:
    points, centers = torch.randn(20, 4).double(), torch.randn(3, 4).double()
    soft = log_soft_assignment(points, centers).exp()
    assert_close(soft, loop_assignment(points, centers))
    target = target_distribution(soft)
    assert_close(target, torch.tensor(loop_target(soft.tolist())).double())
    expected = sum(
        p * math.log(p / q)
        for rows in zip(target.tolist(), soft.tolist(), strict=True)
        for p, q in zip(*rows, strict=True)
    )
    assert_close(divergence(target, soft.log()).item(), expected / 20)


def test_gradients_equal_those_of_a_plain_loop_and_of_the_paper() -> None:
    points, centers = torch.randn(9, 4).double().requires_grad_(), torch.randn(3, 4).double().requires_grad_()
    target = target_distribution(log_soft_assignment(points, centers).exp()).detach()
    found = torch.autograd.grad(divergence(target, log_soft_assignment(points, centers)), (points, centers))

    soft = loop_assignment(points, centers)
    by_loop = torch.autograd.grad((target * (target.log() - soft.log())).sum() / 9, (points, centers))
    # Eq. (4) and (5) of the paper, for a sum over images: with alpha 1, 2 (1 + d)^-1 (p - q) (z - mu).
    z, mu, q = points.detach(), centers.detach(), soft.detach()
    gap = z[:, None] - mu
    pull = 2 * ((target - q) / (1 + gap.square().sum(2)))[:, :, None] * gap / 9
    for one, other, closed in zip(found, by_loop, (pull.sum(1), -pull.sum(0)), strict=True):
        assert_close(one, other)
        assert_close(one, closed)


def test_distances_are_those_of_cdist_and_never_negative() -> None:
    points = torch.randn(50, 6) + 30
    assert_close(squared_distances(points, points[:7]), torch.cdist(points, points[:7]) ** 2, rtol=1e-3, atol=5e-3)
    assert squared_distances(points, points).min() >= 0


def test_rows_sum_to_one_however_far_the_points() -> None:
    soft = log_soft_assignment(torch.randn(40, 3) * 1e6, torch.randn(5, 3)).exp()
    for rows in (soft, target_distribution(soft)):
        assert_close(rows.sum(1), torch.ones(40))


def test_the_target_sharpens_and_lifts_small_clusters() -> None:
    soft = torch.tensor([[0.7, 0.3]] * 9 + [[0.3, 0.7]])
    target = target_distribution(soft)
    assert (target[9, 1] > soft[9, 1]) & (target[9, 1] > target[0, 0])


def test_an_empty_cluster_gives_no_nan() -> None:
    assert target_distribution(torch.tensor([[1.0, 0.0], [1.0, 0.0]])).tolist() == [[1.0, 0.0], [1.0, 0.0]]


def test_a_point_on_its_centre_has_a_finite_gradient() -> None:
    centers = torch.randn(3, 4, requires_grad=True)
    points = centers.detach().clone().requires_grad_()
    target = torch.full((3, 3), 1 / 3)
    divergence(target, log_soft_assignment(points, centers)).backward()  # type: ignore[no-untyped-call]
    assert points.grad is not None
    assert centers.grad is not None
    assert torch.cat([points.grad, centers.grad]).isfinite().all()
