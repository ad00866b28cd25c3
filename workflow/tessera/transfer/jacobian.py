"""Jacobian matching: how the answer would change with the pixels."""

import torch
from torch import Tensor

from tessera.transfer.vectors import unit


def unit_jacobian(answers: Tensor, pixels: Tensor, differentiable: bool) -> Tensor:
    """The gradient of each image's answer with respect to its pixels, of unit length.

    In train mode batch normalisation makes an answer depend on the other images too: their part is in the gradient.

    Args:
        differentiable: Keep the graph of the gradient.

    Shape:
        answers: (N,), with a graph to the pixels.
        pixels: (N, 3, H, W).
        returns: (N, 3 H W).
    """
    (gradient,) = torch.autograd.grad(answers.sum(), pixels, create_graph=differentiable, retain_graph=True)
    return unit(gradient.flatten(1))


def largest_attention(maps: Tensor) -> Tensor:
    """The largest entry of `sum_c A_c^2`, (N, C, h, w) to (N,)."""
    return maps.square().sum(dim=1).flatten(1).amax(dim=1)


def jacobian_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of unit Jacobians, a sum over pixels, a mean over images.

    Source: Srinivas & Fleuret, ICML 2018, arXiv:1803.00443.

    Shape:
        student, teacher: (N, P).
        returns: (), from 0 to 4.
    """
    return (student - teacher).square().sum(dim=1).mean()
