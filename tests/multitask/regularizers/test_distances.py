"""Distances of Table 5: golden values, properties, and gradients by another route."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from scipy.spatial import distance as scipy_distance
from torch import Tensor
from torch.testing import assert_close

from tessera.multitask.regularizers.distances import DISTANCES, distance

P, Q = [0.5, 0.25, 0.25], [0.2, 0.3, 0.5]
GOLDEN = {
    "kld": 0.239278,
    "reverse_kld": 0.218012,
    "jsd": 0.055582,
    "hellinger": 0.335731,
    "jeffrey": 0.457290,
    "chi2": 0.583333,
    "wasserstein": 0.55,
    "wasserstein_values": 0.033333,
}
ORACLES: dict[str, Callable[[list[float], list[float]], float]] = {
    "kld": lambda p, q: float(stats.entropy(p, q)),
    "reverse_kld": lambda p, q: float(stats.entropy(q, p)),
    "jsd": lambda p, q: float(scipy_distance.jensenshannon(p, q)) ** 2,
    "hellinger": lambda p, q: math.dist([math.sqrt(x) for x in p], [math.sqrt(x) for x in q]),
    "jeffrey": lambda p, q: float(stats.entropy(p, q) + stats.entropy(q, p)),
    "chi2": lambda p, q: sum((x - y) ** 2 / y for x, y in zip(p, q, strict=True)),
    "wasserstein": lambda p, q: float(stats.wasserstein_distance(range(len(p)), range(len(q)), p, q)),
    "wasserstein_values": lambda p, q: float(stats.wasserstein_distance(p, q)),
}


def pairs(count: int = 20, size: int = 7) -> tuple[Tensor, Tensor]:
    p, q = torch.randn(2, count, size, dtype=torch.float64).softmax(dim=-1)
    return p, q


@pytest.mark.parametrize("metric", DISTANCES)
def test_golden_values(metric: str) -> None:
    assert distance(metric, torch.tensor(P), torch.tensor(Q)).item() == pytest.approx(GOLDEN[metric], abs=2e-6)


def test_golden_values_of_permuted_shares_and_of_scaled_distances() -> None:
    p, q = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.25, 0.5, 0.25])
    for metric, value in (("kld", 0.173287), ("reverse_kld", 0.173287), ("chi2", 0.375), ("wasserstein", 0.25)):
        assert distance(metric, p, q).item() == pytest.approx(value, abs=2e-6)
    p, q = torch.tensor(P), torch.tensor(Q)
    assert distance("hellinger", p, q, scaled=True).item() == pytest.approx(0.237397, abs=2e-6)
    assert distance("wasserstein", p, q, scaled=True).item() == pytest.approx(0.275, abs=2e-6)


@pytest.mark.parametrize("metric", DISTANCES)
def test_values_and_gradients_agree_with_an_independent_route(metric: str) -> None:
    p, q = pairs()
    values = distance(metric, p, q)
    expected = [ORACLES[metric](a, b) for a, b in zip(p.tolist(), q.tolist(), strict=True)]
    assert_close(values, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-6)

    logits = p[0].log().requires_grad_()
    (gradient,) = torch.autograd.grad(distance(metric, logits.softmax(0), q[0]), logits)
    for index in range(len(logits)):
        nudge = torch.zeros_like(logits)
        nudge[index] = 1e-5
        up, down = (
            ORACLES[metric]((logits + sign * nudge).detach().softmax(0).tolist(), q[0].tolist()) for sign in (1, -1)
        )
        assert gradient[index].item() == pytest.approx((up - down) / 2e-5, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("metric", DISTANCES)
def test_zero_only_where_equal_with_a_finite_gradient_there(metric: str) -> None:
    p, q = pairs()
    assert (distance(metric, p, q) > 1e-4).all()
    logits = torch.randn(5, 4, requires_grad=True)
    same = logits.detach().softmax(dim=1)
    value = distance(metric, logits.softmax(dim=1), same).sum()
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.item() == pytest.approx(0.0, abs=1e-5)
    assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-3)


@pytest.mark.parametrize("metric", DISTANCES)
def test_symmetry_and_blindness_to_the_order_of_channels(metric: str) -> None:
    p, q = pairs()
    symmetric = metric not in ("kld", "reverse_kld", "chi2")
    assert torch.allclose(distance(metric, p, q), distance(metric, q, p)) == symmetric
    order = torch.randperm(p.shape[1])
    permuted = distance(metric, p[:, order], q[:, order])
    assert torch.allclose(distance(metric, p, q), permuted) == (metric != "wasserstein")


def test_known_inequalities_hold() -> None:
    p, q = pairs(200)
    kl, chi2 = distance("kld", p, q), distance("chi2", p, q)
    assert (distance("hellinger", p, q) ** 2 <= kl + 1e-9).all()
    assert (kl <= torch.log1p(chi2) + 1e-9).all()
    assert (torch.log1p(chi2) <= chi2 + 1e-9).all()
    total_variation = (p - q).abs().sum(dim=1) / 2
    assert (2 * total_variation**2 <= kl + 1e-9).all()
    assert (distance("jsd", p, q) <= math.log(2)).all()


@pytest.mark.parametrize("metric", DISTANCES)
def test_finite_at_the_edge_of_the_simplex_and_in_half_precision(metric: str) -> None:
    logits = torch.tensor([[200.0, 0.0, -200.0]], requires_grad=True)
    value = distance(metric, logits.softmax(dim=1), torch.tensor([0.0, 0.0, 1.0]).bfloat16()).sum()
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert gradient.isfinite().all()
