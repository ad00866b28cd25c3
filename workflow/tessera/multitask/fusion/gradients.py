"""Temporal and task gradients of one layer: the readings of Eq. 7 to 9 (docs/methods.md 1.5)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

TINY = 1e-12


class LayerGradients(NamedTuple):
    """What is added to a layer's weights, before alpha and beta.

    Shape:
        temporal: one tensor of the layer's shape a branch.
        task: a tensor of the layer's shape.
    """

    temporal: list[Tensor]
    task: Tensor


def canberra(first: Tensor, last: Tensor) -> Tensor:
    """Element-wise Canberra distance |a - b| / (|a| + |b|), 0 to 1; 0 where both are 0 (paper, Eq. 8).

    >>> canberra(torch.tensor([1.0, 2.0, 0.0]), torch.tensor([-1.0, 2.0, 0.0]))
    tensor([1., 0., 0.])
    """
    return (last - first).abs() / (first.abs() + last.abs() + TINY)


def signed(changes: Sequence[Tensor], first: Tensor, last: Tensor) -> LayerGradients:
    """The changes themselves; the task gradient is a step from the first to the last task's weights, bounded by the
    mean change of the layer: its magnitude over that mean is exactly Eq. 8.

    Args:
        changes: Of each branch, in the epoch's order.
        first, last: Weights after the epoch's first and last branch.
    """
    step = (last - first) / (first.abs() + last.abs() + TINY)
    return LayerGradients(list(changes), torch.stack([change.abs().mean() for change in changes]).mean() * step)


def norm_equalised(changes: Sequence[Tensor], first: Tensor, last: Tensor) -> LayerGradients:
    """As `signed`, with every change scaled to the branches' mean magnitude; a branch that did not move stays."""
    magnitudes = torch.stack([change.abs().mean() for change in changes])
    factors = torch.where(magnitudes > 0, magnitudes.mean() / magnitudes, torch.ones_like(magnitudes))
    equalised = [factor * change for factor, change in zip(factors, changes, strict=True)]
    return LayerGradients(equalised, signed(changes, first, last).task)


def literal(changes: Sequence[Tensor], first: Tensor, last: Tensor) -> LayerGradients:
    """Magnitudes and distances to the letter: weights can only grow, and no direction is left."""
    return LayerGradients([change.abs() for change in changes], canberra(first, last))


READINGS: dict[str, Callable[[Sequence[Tensor], Tensor, Tensor], LayerGradients]] = {
    "signed": signed,
    "norm_equalised": norm_equalised,
    "literal": literal,
}
