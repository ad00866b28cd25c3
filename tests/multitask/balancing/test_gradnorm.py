"""GradNorm against its paper's loss by autograd, and against a written-out training of three tasks."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from toy_step import TASKS, ToyNetwork, ToyStep

from tessera.multitask.balancing.gradnorm import LEAST, GradNorm
from tessera.multitask.balancing.options.lookahead import GradnormOptions
from tessera.multitask.gradients import leave_gradients

ALPHA, RATE = 1.5, 0.02


def balancing_of(**options: float) -> GradNorm:
    return GradNorm(GradnormOptions(**{"alpha": ALPHA, "learning_rate": RATE, **options}), TASKS)


def literal_loss(lambdas: Tensor, lengths: Tensor, losses: Tensor, first: Tensor) -> Tensor:
    """Algorithm 1 to the letter, differentiable by lambda."""
    scaled = lambdas * lengths
    ratios = losses / first
    targets = (scaled.mean() * (ratios / ratios.mean()) ** ALPHA).detach()
    return (scaled - targets).abs().sum()


def after_one_epoch(balancing: GradNorm, losses: Tensor) -> None:
    for task in TASKS:
        balancing.scale(task, torch.ones(()), 3)
    assert torch.equal(balancing.weights(torch.eye(3, dtype=torch.float64), losses), torch.ones(3).double())
    balancing.end_epoch({})


@pytest.mark.parametrize("seed", range(5))
def test_the_weights_gradient_is_autograds_and_their_sum_is_kept(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(3, 7, dtype=torch.float64, generator=generator) * torch.tensor([1e-2, 1.0, 2.0])[:, None]
    first, losses, start = (torch.rand(3, dtype=torch.float64, generator=generator) + 0.5 for _ in range(3))
    start *= 3 / start.sum()
    balancing = balancing_of()
    after_one_epoch(balancing, first)
    balancing.lambdas.copy_(start)
    lambdas = start.clone().requires_grad_()
    literal_loss(lambdas, rows.norm(dim=1), losses, first).backward()
    assert lambdas.grad is not None
    expected = start - RATE * lambdas.grad
    scaled = start[:, None] * rows
    for task in TASKS:
        assert_close(balancing.scale(task, torch.tensor(2.0), 3), (2 * start[TASKS.index(task)]).float())
    balancing.weights(scaled @ scaled.T, losses)
    assert_close(balancing.lambdas, expected * 3 / expected.sum(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shared_input", [False, True])
def test_a_training_is_that_of_a_written_out_loop(shared_input: bool) -> None:
    network, other = ToyNetwork(), ToyNetwork()
    balancing = balancing_of()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    reference = torch.optim.SGD(other.parameters(), lr=0.01, momentum=0.9)
    lambdas, seen = torch.ones(3, dtype=torch.float64), list[Tensor]()
    for number in range(50):
        leave_gradients(ToyStep(network, number, shared_input=shared_input), balancing, network.shared)
        optimizer.step()
        optimizer.zero_grad()
        if number % 25 == 24:
            balancing.end_epoch({})

        step = ToyStep(other, number, shared_input=shared_input)
        losses = [other(task, step.inputs(task)) for task in TASKS]
        last = list(other.last.parameters())
        rows = [torch.autograd.grad(loss, last, retain_graph=True) for loss in losses]
        lengths = torch.stack([torch.cat([part.flatten() for part in row]).norm() for row in rows])
        torch.stack([weight * loss for weight, loss in zip(lambdas, losses, strict=True)]).sum().backward()
        values = torch.stack(losses).detach()
        if number < 25:
            seen.append(values)
        else:
            leaf = lambdas.clone().requires_grad_()
            literal_loss(leaf, lengths, values, torch.stack(seen).mean(dim=0)).backward()
            assert leaf.grad is not None
            lambdas = lambdas - RATE * leaf.grad
            lambdas = lambdas * 3 / lambdas.sum()
        reference.step()
        reference.zero_grad()
        for one, two in zip(network.parameters(), other.parameters(), strict=True):
            assert_close(one, two, rtol=1e-9, atol=1e-12)
    assert_close(balancing.lambdas, lambdas, rtol=1e-9, atol=1e-12)
    assert (lambdas - 1).abs().max() > 0.02
    figures = balancing.figures()  # the mean over the steps of what weighed them, one in the first epoch
    assert list(figures) == [f"weight.{task}" for task in TASKS]
    assert sum(figures.values()) == pytest.approx(3)


def test_equal_lengths_and_paces_leave_the_weights_and_alpha_pulls_slow_tasks_along() -> None:
    gramian, losses = torch.eye(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    balancing = balancing_of()
    after_one_epoch(balancing, losses)
    balancing.weights(gramian, losses * 0.5)
    assert torch.equal(balancing.lambdas, torch.ones(3, dtype=torch.float64))
    for task in TASKS:
        balancing.scale(task, torch.ones(()), 3)
    balancing.weights(gramian, losses * torch.tensor([0.1, 0.2, 0.9]))
    assert balancing.lambdas[0] == balancing.lambdas[1] < balancing.lambdas[2]


def test_no_weight_turns_negative_nor_undefined() -> None:
    balancing = balancing_of(learning_rate=10.0)
    first = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)  # of a task without a label, and of a negative loss
    after_one_epoch(balancing, first)
    for scale in (1e-12, 1.0, 1e12):
        for task in TASKS:
            balancing.scale(task, torch.ones(()), 3)
        balancing.weights(scale * torch.diag(torch.tensor([1.0, 0.0, 1e6], dtype=torch.float64)), first)
        assert balancing.lambdas.isfinite().all()
        assert (balancing.lambdas >= LEAST / 1e3).all()
        assert float(balancing.lambdas.sum()) == pytest.approx(3)


def test_a_step_of_some_tasks_moves_theirs_alone() -> None:
    network, balancing = ToyNetwork(), balancing_of()
    after_one_epoch(balancing, torch.ones(3, dtype=torch.float64))
    leave_gradients(ToyStep(network, 0, tasks=("b",)), balancing, network.shared)
    leave_gradients(ToyStep(network, 0, tasks=("c", "a")), balancing, network.shared)
    assert balancing.lambdas[1] == 1
    assert balancing.lambdas[0] != 1
    assert float(balancing.lambdas.sum()) == pytest.approx(3)


def test_what_it_remembers_stays_on_the_cpu_where_gradients_are_weighed() -> None:
    balancing = GradNorm(GradnormOptions(), TASKS).to("meta").to(torch.float16)
    assert {(buffer.device.type, buffer.dtype) for buffer in (balancing.lambdas, balancing.losses)} == {
        ("cpu", torch.float64)
    }
