"""Weights of losses against torchjd, and against what the papers' equations give by hand."""

import math

import pytest
import torch
from torchjd.scalarization import DWA, UW

from tessera.multitask.balancing.dwa import DynamicWeightAverage
from tessera.multitask.balancing.options.losses import DwaOptions, UncertaintyOptions
from tessera.multitask.balancing.uncertainty import Uncertainty
from tessera.training.optimizer import SGD

TASKS = ("a", "b", "c")


def test_dynamic_weights_are_torchjd_s_epoch_by_epoch() -> None:
    ours, theirs = DynamicWeightAverage(DwaOptions(temperature=1.5), TASKS), DWA(temperature=1.5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        batches = torch.rand(4, 3, generator=generator) + 0.1
        for losses in batches:
            found = [ours.scale(task, loss, 3) for task, loss in zip(TASKS, losses, strict=True)]
            torch.testing.assert_close(torch.stack(found).sum(), theirs(losses), rtol=1e-5, atol=1e-6)
        ours.end_epoch(dict(zip(TASKS, batches.mean(dim=0).tolist(), strict=True)))
        theirs.step()


def test_dynamic_weights_by_hand() -> None:
    balancing = DynamicWeightAverage(DwaOptions(), TASKS)
    balancing.end_epoch({"a": 1.0, "b": 1.0, "c": 1.0})
    assert balancing.factors.tolist() == [1, 1, 1]
    balancing.end_epoch({"a": 0.9, "b": 0.8, "c": 1.0})
    assert balancing.factors.tolist() == pytest.approx([0.99917, 0.95044, 1.05040], abs=1e-5)
    assert balancing.factors.sum().item() == pytest.approx(3)
    again = DynamicWeightAverage(DwaOptions(), TASKS)
    again.load_state_dict(balancing.state_dict())
    for one in (balancing, again):
        one.end_epoch({"a": 0.5, "b": 0.8, "c": 0.9})
    assert torch.equal(balancing.factors, again.factors)


@pytest.mark.parametrize("means", [(0.0, 0.0), (0.0, 0.1), (0.1, 0.0), (-0.1, 0.1)])
def test_a_mean_without_a_ratio_leaves_dynamic_weights_finite(means: tuple[float, float]) -> None:
    """A task without any label has loss 0 in every epoch: it counts as one that neither falls nor rises."""
    found, steady = DynamicWeightAverage(DwaOptions(), TASKS), DynamicWeightAverage(DwaOptions(), TASKS)
    for a, b in zip(means, (1.0, 0.8), strict=True):
        found.end_epoch({"a": a, "b": b, "c": 1.0})
        steady.end_epoch({"a": 1.0, "b": b, "c": 1.0})
    assert torch.equal(found.factors, steady.factors)


def test_learned_noises_are_torchjd_s_in_value_and_gradient() -> None:
    ours, theirs = Uncertainty(UncertaintyOptions(start=0.3), TASKS).double(), UW(3).double()
    with torch.no_grad():
        theirs.log_var.fill_(0.3)
    losses = torch.tensor([0.5, 2.0, 0.1], dtype=torch.float64, requires_grad=True)
    sum(ours.scale(task, loss, 3) for task, loss in zip(TASKS, losses, strict=True)).backward()  # type: ignore[union-attr]
    found, losses.grad = losses.grad, None
    theirs(losses).backward()
    torch.testing.assert_close(found, losses.grad)
    torch.testing.assert_close(torch.stack([p.grad for p in ours.parameters()]), theirs.log_var.grad)  # type: ignore[arg-type]
    assert ours.figures()["weight.a"] == pytest.approx(0.5 * math.exp(-0.3))


def test_a_learned_weight_settles_at_one_over_its_loss() -> None:
    """The optimum of L exp(-s) / 2 + s / 2 is exp(s) = L, so the gradient's weight is 1 / (2 L)."""
    balancing = Uncertainty(UncertaintyOptions(), ("a",))
    optimizer = SGD(balancing.parameters(), lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        balancing.scale("a", torch.tensor(0.2), 1).backward()
        optimizer.step()
    balancing.figures()
    balancing.scale("a", torch.tensor(0.2), 1)
    assert balancing.figures()["weight.a"] == pytest.approx(1 / (2 * 0.2), rel=1e-3)


def test_noises_learn_at_a_rate_of_their_own() -> None:
    balancing = Uncertainty(UncertaintyOptions(lr_factor=5), TASKS)
    ((modules, factor),) = balancing.groups()
    assert factor == 5
    assert len([p for module in modules for p in module.parameters()]) == 3


def test_an_epoch_reports_the_weights_that_it_was_trained_with() -> None:
    balancing = DynamicWeightAverage(DwaOptions(), TASKS)
    for falls in ((1.0, 1.0, 1.0), (0.9, 0.5, 1.0)):
        for task in TASKS:
            balancing.scale(task, torch.ones(()), 3)
        balancing.end_epoch(dict(zip(TASKS, falls, strict=True)))  # told before the figures are asked for
        assert list(balancing.figures().values()) == [1, 1, 1]
    assert balancing.factors[1] < 1
