"""Neuron selectivity transfer: channels are samples of where a network responds, and the two samples shall agree."""

from torch import Tensor

from tessera.transfer.layers import to_one_size
from tessera.transfer.options.features import NstOptions
from tessera.transfer.terms import LayerTerm
from tessera.transfer.vectors import unit


def nst_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of the channels under the kernel `k(a, b) = (a^T b)^2`, a mean over images.

    Source: Huang & Wang 2017, polynomial kernel with d = 2 and c = 0, arXiv:1707.01219. A channel is a vector over
    positions, of unit length: `MMD^2 = mean k(t, t') + mean k(s, s') - 2 mean k(s, t)`. The mean of the kernel is a sum
    of squares of a Gram matrix, of channels or of positions alike; the smaller is taken, so no more than
    N min(max(C, C')^2, (h w)^2) numbers are in memory at once for each of the three.

    Shape:
        student: (N, C, h, w); teacher: (N, C', h, w).
        returns: (), at least 0.
    """
    ours, theirs = (unit(maps.flatten(2)) for maps in (student, teacher))  # (N, C, h w)
    positions = ours.shape[2]
    if positions <= max(ours.shape[1], theirs.shape[1]):
        # sum_ij (s_i^T t_j)^2 = <S^T S, T^T T>, so the whole is one squared distance.
        gap = ours.mT @ ours / ours.shape[1] - theirs.mT @ theirs / theirs.shape[1]
        return gap.square().sum(dim=(1, 2)).mean()
    same, across = (ours @ ours.mT).square().mean(), (ours @ theirs.mT).square().mean()
    return (theirs @ theirs.mT).square().mean() + same - 2 * across


class Nst(LayerTerm):
    """`CE + b sum_j MMD^2(channels of teacher and student)`, at the ends of the stages.

    Source: Huang & Wang 2017; b = 50 as in the tables of Tian et al. 2020. The larger map is averaged to the smaller
    one before; widths may differ.

    Args:
        options: What the study set.
    """

    options: NstOptions

    def between(self, place: int, student: Tensor, teacher: Tensor) -> Tensor:
        return nst_loss(*to_one_size(student, teacher))
