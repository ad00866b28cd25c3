"""Correlation congruence: the kernel matrix of a batch's embeddings."""

import math

import torch
from torch import Tensor

from tessera.transfer.options.relations import CorrelationOptions
from tessera.transfer.seen import Seen
from tessera.transfer.terms import EmbeddingTerm
from tessera.transfer.vectors import unit


def correlations(embeddings: Tensor, gamma: float, order: int) -> Tensor:
    """The Gaussian kernel of unit embeddings, by its Taylor series: `sum_p e^(-2g) (2g)^p / p! (x_i^T x_j)^p`.

    Source: Peng et al., ICCV 2019, arXiv:1904.01802.

    Args:
        gamma: g, above 0.
        order: The largest p.

    Shape:
        embeddings: (N, D).
        returns: (N, N).
    """
    units = unit(embeddings)
    cosines = units @ units.T
    found = torch.zeros_like(cosines)
    for power in range(order, -1, -1):  # Horner's rule
        found = found * cosines + (2 * gamma) ** power / math.factorial(power)
    return math.exp(-2 * gamma) * found


def correlation_loss(student: Tensor, teacher: Tensor, gamma: float, order: int) -> Tensor:
    """Squared difference of the correlations, a mean over the batch's N^2 pairs.

    Source: Peng et al. 2019.

    Shape:
        student: (N, D); teacher: (N, D').
        returns: ().
    """
    return (correlations(student, gamma, order) - correlations(teacher, gamma, order)).square().mean()


class Correlation(EmbeddingTerm):
    """`CE + b |C_t - C_s|^2 / N^2`, C the correlations of a batch's embeddings.

    Source: Peng et al. 2019. The tables of Tian et al. 2020 have another loss under this name, of neighbouring images'
    differences after two linear layers.

    Args:
        options: What the study set.
    """

    options: CorrelationOptions

    def between(self, student: Tensor, teacher: Tensor, seen: Seen) -> Tensor:
        return self.options.weight * correlation_loss(student, teacher, self.options.gamma, self.options.order)
