"""Optimisers without the compiler: every bit as `torch.optim` has it, and its compiler never imported."""

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.testing import assert_close

from tessera.training import optimizer as optimizers
from tessera.training.options import OptimizerOptions
from tessera.training.steps import run_steps

PAIRS = [
    (optimizers.SGD, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    (optimizers.SGD, torch.optim.SGD, {}),
    (optimizers.Adam, torch.optim.Adam, {}),
]


def train(optimizer: torch.optim.Optimizer, network: nn.Module, steps: int) -> None:
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 / (step + 1)
        images = torch.randn(8, 5, generator=torch.Generator().manual_seed(step))
        network(images).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


@pytest.mark.parametrize(("ours", "theirs", "options"), PAIRS)
def test_steps_and_states_are_those_of_torch(ours: Any, theirs: Any, options: dict[str, Any]) -> None:
    first = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 2))
    second = copy.deepcopy(first)
    made = []
    for cls, network in ((ours, first), (theirs, second)):
        weights = [p for p in network.parameters() if p.ndim > 1]
        others = [p for p in network.parameters() if p.ndim <= 1]
        groups = [{"params": weights, "weight_decay": 1e-3, "factor": 0.5}, {"params": others}]
        made.append(cls(groups, lr=0.1, **options))
        train(made[-1], network, 5)
        assert all(p.grad is None for p in network.parameters())
    torch.testing.assert_close(made[0].state_dict(), made[1].state_dict(), rtol=0, atol=0)

    # What one has saved the other goes on from, and so does a new one.
    again = ours([{"params": list(group["params"])} for group in made[0].param_groups], lr=0.3)
    again.load_state_dict(copy.deepcopy(made[1].state_dict()))
    train(again, first, 3)
    train(made[1], second, 3)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_step_keeps_no_graph() -> None:
    network = nn.Linear(3, 1)
    optimizer = optimizers.SGD(network.parameters(), lr=0.1)
    train_input = torch.ones(1, 3)
    network(train_input).sum().backward()
    optimizer.step()
    assert all(p.is_leaf and p.requires_grad for p in network.parameters())
    assert torch.is_grad_enabled()


def test_hooks_of_a_step_are_called() -> None:
    """Profilers and schedulers rely on them."""
    network, called = nn.Linear(3, 1), list[str]()
    optimizer = optimizers.SGD(network.parameters(), lr=0.1)
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    optimizer.step()
    assert called == ["after"]


def test_a_step_needs_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch._dynamo", "sympy"):
        monkeypatch.setitem(sys.modules, name, None)  # whoever imports it fails
    network = nn.Linear(3, 1)
    optimizer = optimizers.SGD(network.parameters(), lr=0.1, momentum=0.9)
    train_input = torch.ones(1, 3)
    network(train_input).sum().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    optimizer.load_state_dict(optimizer.state_dict())


@pytest.mark.slow
def test_the_compiler_is_not_imported() -> None:
    program = """
import sys, torch
from tessera.training.optimizer import SGD
network = torch.nn.Linear(3, 1)
optimizer = SGD(network.parameters(), lr=0.1, momentum=0.9)
network(torch.ones(1, 3)).sum().backward()
torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
optimizer.step()
optimizer.zero_grad(set_to_none=True)
optimizer.load_state_dict(optimizer.state_dict())
print([name for name in ("torch._dynamo", "sympy", "torchvision") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_adam_of_a_study_is_torchs_with_weight_decay_on_weights_alone() -> None:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 2)).double()
    second = copy.deepcopy(first)
    options = OptimizerOptions(kind="adam", learning_rate=0.003, momentum=0.8, weight_decay=0.1)
    made = optimizers.make_optimizer(options, ([first[0]], 1.0), ([first[1], first[2]], 0.5))
    groups = [
        {"params": [parameter], "lr": 0.003 * factor, "weight_decay": 0.1 if parameter.ndim > 1 else 0.0}
        for layer, factor in zip(second, (1.0, 0.5, 0.5), strict=True)
        for parameter in layer.parameters()
    ]
    theirs = torch.optim.Adam(groups, betas=(0.8, 0.999), eps=1e-8)
    images = torch.randn(20, 8, 5, dtype=torch.float64)

    def backward(batch: Tensor) -> Tensor:
        loss = first(batch).square().mean()
        loss.backward()
        return loss.detach()

    run_steps(images, backward, made, iter([0.003] * len(images)), clip_norm=0.02)
    for batch in images:
        second(batch).square().mean().backward()
        nn.utils.clip_grad_norm_(second.parameters(), 0.02)
        theirs.step()
        theirs.zero_grad()
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_nesterov_is_refused_beside_adam_and_kind_is_left_out_of_a_dump_by_default() -> None:
    with pytest.raises(ValidationError, match="nesterov is of kind `sgd`"):
        OptimizerOptions(kind="adam", nesterov=True)
    assert "kind" not in OptimizerOptions().model_dump()
    assert OptimizerOptions(kind="adam").model_dump()["kind"] == "adam"
