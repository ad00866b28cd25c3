"""Losses of the relations within a batch, each by its paper's formula."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from slow_losses import Numbers, check
from tessera.transfer.correlation import correlation_loss, correlations
from tessera.transfer.pkt import pkt_loss
from tessera.transfer.rkd import angle_loss, differences, distance_loss
from tessera.transfer.similarity import similarity_loss


def embeddings(images: int, width: int) -> Tensor:
    return torch.randn(images, width, dtype=torch.float64)


def huber(gap: float) -> float:
    return gap**2 / 2 if abs(gap) < 1 else abs(gap) - 0.5


def slow_distances(rows: Numbers) -> list[float]:
    found = [math.dist(a, b) for a in rows for b in rows]
    others = [distance for distance in found if distance > 0]
    return [distance / (sum(others) / len(others)) for distance in found]


def slow_angles(rows: Numbers) -> list[float]:
    found = []
    for j in rows:
        for i in rows:
            for k in rows:
                lengths = math.dist(i, j) * math.dist(k, j)
                found.append(float((i - j) @ (k - j)) / lengths if lengths > 0 else 0.0)
    return found


@pytest.mark.parametrize("scale", [1.0, 3.0])  # some pairs in the linear part of Huber's loss
def test_distances_are_those_of_pairs(scale: float) -> None:
    teacher, student = embeddings(5, 3), embeddings(5, 2)
    student[0] *= scale

    def slow(rows: Numbers) -> float:
        gaps = [a - b for a, b in zip(slow_distances(rows), slow_distances(teacher.numpy()), strict=True)]
        return sum(map(huber, gaps)) / len(gaps)

    check(lambda rows: distance_loss(differences(rows), differences(teacher)), slow, student)


def test_angles_are_those_of_triples() -> None:
    teacher = embeddings(4, 3)

    def slow(rows: Numbers) -> float:
        gaps = [a - b for a, b in zip(slow_angles(rows), slow_angles(teacher.numpy()), strict=True)]
        return sum(map(huber, gaps)) / len(gaps)

    check(lambda rows: angle_loss(differences(rows), differences(teacher)), slow, embeddings(4, 2))


def test_duplicates_in_a_batch_leave_the_gradients_finite() -> None:
    teacher, student = embeddings(6, 3), embeddings(6, 3)
    student[3:5] = student[0]
    teacher[1] = teacher[2]
    student.requires_grad_()
    ours, theirs = differences(student), differences(teacher)
    losses = distance_loss(ours, theirs), angle_loss(ours, theirs)
    rows = student.detach().numpy()
    for loss, slow in zip(losses, (slow_distances, slow_angles), strict=True):
        gaps = [a - b for a, b in zip(slow(rows), slow(teacher.numpy()), strict=True)]
        assert loss.item() == pytest.approx(sum(map(huber, gaps)) / len(gaps), rel=1e-9)
        (gradient,) = torch.autograd.grad(loss, student, retain_graph=True)
        assert 0 < gradient.abs().max() < 10  # a clamped length would give 1e12
    all_alike = torch.ones(4, 3, requires_grad=True)
    both = differences(all_alike)
    (distance_loss(both, differences(teacher[:4])) + angle_loss(both, differences(teacher[:4]))).backward()  # type: ignore[no-untyped-call]
    assert all_alike.grad is not None
    assert all_alike.grad.isfinite().all()


def test_similarities_are_rows_of_unit_length() -> None:
    teacher, student = torch.randn(4, 3, 2, 2, dtype=torch.float64), torch.randn(4, 2, 3, 1, dtype=torch.float64)

    def gram(maps: Numbers) -> Numbers:
        vectors = maps.reshape(len(maps), -1)
        found = vectors @ vectors.T
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def slow(maps: Numbers) -> float:
        return float(np.linalg.norm(gram(maps) - gram(teacher.numpy())) ** 2 / len(maps) ** 2)

    check(lambda maps: similarity_loss(maps, teacher), slow, student)


@pytest.mark.parametrize(("gamma", "order"), [(0.4, 2), (1.0, 3), (0.4, 0)])
def test_correlations_are_a_series_of_powers_of_cosines(gamma: float, order: int) -> None:
    teacher = embeddings(4, 3)

    def kernel(rows: Numbers) -> Numbers:
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        terms = [(2 * gamma) ** p / math.factorial(p) * (units @ units.T) ** p for p in range(order + 1)]
        return np.asarray(math.exp(-2 * gamma) * sum(terms))

    def slow(rows: Numbers) -> float:
        return float(((kernel(rows) - kernel(teacher.numpy())) ** 2).sum() / len(rows) ** 2)

    check(lambda rows: correlation_loss(rows, teacher, gamma, order), slow, embeddings(4, 5))


def test_a_long_series_is_the_gaussian_kernel() -> None:
    rows = embeddings(5, 3)
    units = rows / rows.norm(dim=1, keepdim=True)
    assert_close(correlations(rows, gamma=0.4, order=20), (-0.4 * torch.cdist(units, units).square()).exp())


def test_pkt_is_the_divergence_of_the_neighbours() -> None:
    teacher, tiny = embeddings(4, 3), 1e-7

    def probabilities(rows: Numbers) -> Numbers:
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        likeness = (units @ units.T + 1) / 2
        return likeness / likeness.sum(axis=1, keepdims=True)

    def slow(rows: Numbers) -> float:
        p, q = probabilities(teacher.numpy()), probabilities(rows)
        terms = [a * math.log((a + tiny) / (b + tiny)) for a, b in zip(p.flat, q.flat, strict=True)]
        return sum(terms) / len(terms)

    check(lambda rows: pkt_loss(rows, teacher), slow, embeddings(4, 2))
    assert pkt_loss(3 * teacher, teacher).item() == pytest.approx(0, abs=1e-12)


def test_dead_embeddings_leave_the_gradients_small() -> None:
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 0.0]], requires_grad=True)
    teacher = torch.eye(4)
    losses = {
        "pkt": pkt_loss(rows, teacher),
        "correlation": correlation_loss(rows, teacher, 0.4, 2),
        "similarity": similarity_loss(rows[:, :, None, None], teacher[:, :, None, None]),
    }
    for name, loss in losses.items():
        (gradient,) = torch.autograd.grad(loss, rows)
        assert gradient.abs().max() < 10, name  # over an epsilon it would be 1e12
