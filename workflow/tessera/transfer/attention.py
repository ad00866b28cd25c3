"""Attention transfer: where a network looks, without a word of what it sees there."""

from torch import Tensor

from tessera.transfer.layers import to_one_size
from tessera.transfer.options.features import AttentionOptions
from tessera.transfer.terms import LayerTerm
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
    raised = maps.square() if power == 2 else maps.abs().pow(power)  # a square needs no sign
    return unit(raised.sum(dim=1).flatten(1))


def attention_loss(student: Tensor, teacher: Tensor, power: float) -> Tensor:
    """Squared difference of the attention maps, a mean over positions and images.

    Shape:
        student: (N, C, h, w); teacher: (N, C', h, w).
        returns: (), from 0 to 2 / (h w).
    """
    return (attention_map(student, power) - attention_map(teacher, power)).square().mean()


class Attention(LayerTerm):
    """`CE + b / 2 sum_j |Q_t - Q_s|^2`, Q the attention maps at the ends of the stages.

    Source: Zagoruyko & Komodakis 2017, eq. (2). Their b = 1000 is divided by the number of positions, and so is
    ours: the square is a mean over positions. Public code, theirs too, leaves the 1/2 out: its b is half of
    ours. The larger map is averaged to the smaller one before; widths may differ.

    Args:
        options: What the study set.
    """

    options: AttentionOptions

    @property
    def weight(self) -> float:
        return self.options.weight / 2

    def between(self, place: int, student: Tensor, teacher: Tensor) -> Tensor:
        return attention_loss(*to_one_size(student, teacher), self.options.power)
