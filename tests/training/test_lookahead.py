"""Weights moved for a moment, and the step that SGD would take, against the one that torch's takes."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tessera.training.lookahead import moved, sgd_rates, sgd_step, trained_by
from tessera.training.optimizer import make_optimizer
from tessera.training.options import OptimizerOptions


def test_weights_come_back_to_the_bit_even_after_an_error() -> None:
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.randn(4, 2, 3, 3)), nn.Parameter(torch.randn(2))]
    weights[1].data = weights[1].data.to(memory_format=torch.channels_last)
    before = copy.deepcopy(weights)
    ways = [1e4 * torch.randn(5, 3), torch.randn(4, 2, 3, 3), None]
    with moved(weights, ways):
        for weight, old, way in zip(weights, before, ways, strict=True):
            assert_close(weight.detach(), old.detach() + (0 if way is None else way))
    assert all(torch.equal(one, other) for one, other in zip(weights, before, strict=True))
    assert weights[1].is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(KeyboardInterrupt), moved(weights, ways):
        raise KeyboardInterrupt
    assert all(torch.equal(one, other) for one, other in zip(weights, before, strict=True))


@pytest.mark.parametrize(
    "settings",
    [{"momentum": 0.0}, {"weight_decay": 0.1}, {"nesterov": True, "weight_decay": 0.1}, {"weight_decay": 0.0}],
)
def test_the_step_that_sgd_would_take_is_torchs_at_each_step(settings: dict[str, float]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2), nn.Linear(2, 2)).double()
    optimizer = make_optimizer(OptimizerOptions(**settings), ([network[0]], 1.0), ([network[2], network[3]], 0.5))
    parameters = trained_by(optimizer)
    for number in range(4):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (number + 1) * group["factor"]
        hidden = network[:3](torch.randn(6, 4, dtype=torch.float64))
        (network[3](hidden) if number % 2 else hidden).square().mean().backward()  # a layer rests in every other step
        gradients = [parameter.grad for parameter in parameters]
        assert number % 2 or any(gradient is None for gradient in gradients)
        before, state = copy.deepcopy(parameters), copy.deepcopy(optimizer.state_dict())
        found = sgd_step(optimizer, gradients)
        assert_close(optimizer.state_dict(), state, rtol=0, atol=0)
        optimizer.step()
        for parameter, old, way in zip(parameters, before, found, strict=True):
            assert_close(parameter, old if way is None else old + way, rtol=1e-12, atol=1e-14)
        # One more of a gradient moves the step by its rate.
        more = sgd_step(optimizer, [None if gradient is None else gradient + 1 for gradient in gradients])
        for one, other, rate in zip(more, sgd_step(optimizer, gradients), sgd_rates(optimizer), strict=True):
            if isinstance(one, Tensor) and isinstance(other, Tensor):
                assert_close(other - one, torch.full_like(one, rate))
        optimizer.zero_grad()


def test_under_adam_the_step_is_plain_descent_at_its_rates() -> None:
    torch.manual_seed(0)
    network = nn.Linear(4, 3).double()
    options = OptimizerOptions(kind="adam", learning_rate=0.01, weight_decay=0.1)
    optimizer = make_optimizer(options, ([network], 0.5))
    for group in optimizer.param_groups:
        group["lr"] = 0.01 * group["factor"]
    network(torch.randn(6, 4, dtype=torch.float64)).square().mean().backward()
    optimizer.step()  # so that it has a state, which is not asked
    weight, bias = trained_by(optimizer)
    ways = sgd_step(optimizer, [weight.grad, bias.grad])
    assert_close(ways, [-0.005 * (weight.grad + 0.1 * weight.detach()), -0.005 * bias.grad])
    assert sgd_rates(optimizer) == [0.005, 0.005]
