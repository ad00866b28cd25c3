"""PyTorch's optimisers over groups of modules, without its compiler, whose import takes seconds.

`torch.optim` marks methods as not to be compiled: its decorators import `torch._dynamo` on the first call. What they
wrap, which `inspect.unwrap` gives, computes the same without them.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tessera.training.options import OptimizerOptions

BETA2, EPSILON = 0.999, 1e-8  # of Adam, as its paper recommends


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


def make_optimizer(options: OptimizerOptions, *groups: tuple[Iterable[nn.Module], float]) -> SGD | Adam:
    """The optimiser over modules; each group has a factor on its learning rate. Biases and norms have no weight decay.

    Adam is that of Kingma & Ba 2015 (arXiv:1412.6980, Algorithm 1), its weight decay a part of the gradient as SGD's.

    Args:
        groups: (modules, factor) pairs.
    """
    parameters = []
    for modules, factor in groups:
        trained = [p for module in modules for p in module.parameters() if p.requires_grad]
        for decay, chosen in (
            (options.weight_decay, [p for p in trained if p.ndim > 1]),
            (0.0, [p for p in trained if p.ndim <= 1]),
        ):
            if chosen:
                parameters.append({"params": chosen, "weight_decay": decay, "factor": factor})
    if options.kind == "adam":
        return Adam(parameters, lr=options.learning_rate, betas=(options.momentum, BETA2), eps=EPSILON)
    return SGD(parameters, lr=options.learning_rate, momentum=options.momentum, nesterov=options.nesterov)


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Gives an optimiser the state of an earlier one; torch's own function compares only the numbers of parameters.

    Raises:
        ValueError: If the state is of another optimiser: of another kind, other options, or momentum of another shape.
    """
    for group, other in zip(optimizer.param_groups, state["param_groups"], strict=True):
        if ("betas" in group) != ("betas" in other):
            raise ValueError("the optimiser is of another kind")
        shared = (group.keys() & other.keys()) - {"params", "lr"}  # a later torch may know more options
        if differing := sorted(name for name in shared if group[name] != other[name]):
            raise ValueError(f"the optimiser has another {', '.join(differing)}")
    optimizer.load_state_dict(dict(state))
    for parameter, kept in optimizer.state.items():
        of_weights = (value for name, value in kept.items() if isinstance(value, Tensor) and name != "step")
        if any(value.shape != parameter.shape for value in of_weights):
            raise ValueError("the optimiser's momentum is of other weights")
