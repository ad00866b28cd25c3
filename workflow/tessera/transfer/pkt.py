"""Probabilistic knowledge transfer: how likely would an image choose each other one of the batch as its neighbour?"""

from torch import Tensor

from tessera.transfer.options.relations import PktOptions
from tessera.transfer.seen import Seen
from tessera.transfer.terms import EmbeddingTerm
from tessera.transfer.vectors import unit

SMALLEST = 1e-7


def neighbours(embeddings: Tensor) -> Tensor:
    """`(1 + cos(x_i, x_j)) / 2` with rows that sum to 1.

    Source: Passalis & Tefas, ECCV 2018, arXiv:1803.10837. The paper leaves an image's likeness to
    itself out; the authors' code, which the published tables are of, has it, and so have we.

    Shape:
        embeddings: (N, D).
        returns: (N, N).
    """
    units = unit(embeddings)
    likeness = (units @ units.T + 1) / 2
    return likeness / likeness.sum(dim=1, keepdim=True)


def pkt_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the student's neighbours from the teacher's, a mean over the batch's N^2 pairs.

    Source: Passalis & Tefas 2018, whose divergence is a sum over the pairs.

    Shape:
        student: (N, D); teacher: (N, D').
        returns: ().
    """
    p, q = neighbours(teacher), neighbours(student)
    return (p * ((p + SMALLEST) / (q + SMALLEST)).log()).mean()


class Pkt(EmbeddingTerm):
    """`CE + b KL(p_t | p_s) / N^2`, p the neighbours of a batch's embeddings.

    Source: Passalis & Tefas 2018; b = 30000 as in the tables of Tian et al. 2020.

    Args:
        options: What the study set.
    """

    options: PktOptions

    def between(self, student: Tensor, teacher: Tensor, seen: Seen) -> Tensor:
        return self.options.weight * pkt_loss(student, teacher)
