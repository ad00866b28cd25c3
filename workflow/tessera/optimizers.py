"""PyTorch's optimisers without its compiler, whose import takes seconds and which no training here uses.

`torch.optim` marks methods as not to be compiled: its decorators import `torch._dynamo` on the first call. What they
wrap, which `inspect.unwrap` gives, computes the same without them.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch


class _Uncompiled(torch.optim.Optimizer):
    """Goes before an optimiser of `torch.optim` among the bases of a class."""

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        step = inspect.unwrap(super().step.__func__)  # type: ignore[attr-defined]
        with torch.no_grad():  # the decorator's other part
            return step(self, closure)


class SGD(_Uncompiled, torch.optim.SGD):
    """`torch.optim.SGD`."""


class Adam(_Uncompiled, torch.optim.Adam):
    """`torch.optim.Adam`."""
