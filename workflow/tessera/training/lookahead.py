"""Looking ahead: weights moved for a moment, and the step that SGD would take."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def moved(parameters: Sequence[Tensor], directions: Sequence[Tensor | None]) -> Iterator[None]:
    """Adds a direction to each of the parameters while the context lasts; afterwards every bit is as it was.

    A graph that was made before the context, or within it, cannot be differentiated once the weights change again.

    Args:
        directions: Of the parameters' shapes; None leaves a parameter where it is.
    """
    pairs = [(p, way) for p, way in zip(parameters, directions, strict=True) if way is not None]
    with torch.no_grad():
        kept = [parameter.clone() for parameter, _ in pairs]  # subtracting would leave other bits
        for parameter, way in pairs:
            parameter.add_(way)
    try:
        yield
    finally:
        with torch.no_grad():
            for (parameter, _), value in zip(pairs, kept, strict=True):
                parameter.copy_(value)


def trained_by(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The parameters of an optimiser, in the order of its groups."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


@torch.no_grad()
def sgd_step(optimizer: torch.optim.Optimizer, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """What SGD would add to its parameters for these gradients, which is not done: nothing changes.

    It is `torch.optim.SGD`'s, with each group's learning rate as it is, weight decay, momentum and Nesterov's form. Of
    an optimiser of another kind it is plain descent at its learning rates, without momentum.

    Args:
        gradients: One a parameter, as in `trained_by`; None: no gradient, so that the parameter rests.

    Shape:
        returns: of the parameters' shapes; None where there is no gradient.
    """
    found: list[Tensor | None] = []
    left = iter(gradients)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if (gradient := next(left)) is None:
                found.append(None)
                continue
            way = gradient.add(parameter, alpha=group["weight_decay"])
            if momentum := group.get("momentum", 0.0):
                before = optimizer.state.get(parameter, {}).get("momentum_buffer")
                average = way if before is None else way + momentum * before
                way = way + momentum * average if group["nesterov"] else average
            found.append(-group["lr"] * way)
    return found


def sgd_rates(optimizer: torch.optim.Optimizer) -> list[float]:
    """By how much the step of each parameter grows against its gradient: the derivative of `sgd_step`, negated."""
    return [
        group["lr"] * (1 + (group["momentum"] if group.get("nesterov") else 0))
        for group in optimizer.param_groups
        for _ in group["params"]
    ]
