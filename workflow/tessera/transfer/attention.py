"""Attention transfer: where a network looks, without a word of what it sees there."""

from torch import Tensor

from tessera.transfer.vectors import unit


def attention_map(maps: Tensor, power: float) -> Tensor:
    """`Q = vec(sum_c |A_c|^p)`, of unit length; 0 where the map is.

    Source: Zagoruyko & Komodakis, ICLR 2017, section 3.1, arXiv:1612.03928.

    Args:
        power: p, at least 1. Larger values favour the strongest responses.

    Shape:
        maps: (N, C, h, w), float32 or float64.
        returns: (N, h w).
    """
    return unit(maps.abs().pow(power).sum(dim=1).flatten(1))


def attention_loss(student: Tensor, teacher: Tensor, power: float) -> Tensor:
    """Squared difference of the attention maps, a mean over positions and images.

    Shape:
        student: (N, C, h, w); teacher: (N, C', h, w).
        returns: (), from 0 to 2 / (h w).
    """
    return (attention_map(student, power) - attention_map(teacher, power)).square().mean()
