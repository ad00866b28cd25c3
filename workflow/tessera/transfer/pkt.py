"""Probabilistic knowledge transfer: how likely would an image choose each other one of the batch as its neighbour?"""

from torch import Tensor

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
