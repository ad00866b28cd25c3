"""Similarity-preserving distillation: two images that excite the teacher alike shall excite the student alike."""

from torch import Tensor

from tessera.transfer.vectors import unit


def similarities(maps: Tensor) -> Tensor:
    """`Q Q^T` with rows of unit length, Q the maps of a batch as vectors: (N, C, h, w) to (N, N)."""
    vectors = maps.flatten(1)
    return unit(vectors @ vectors.T)


def similarity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared difference of the batch's similarities, a mean over its N^2 pairs.

    Source: Tung & Mori, ICCV 2019, arXiv:1907.09682.

    Shape:
        student: (N, C, h, w); teacher: (N, C', h', w'): nothing but N need agree.
        returns: ().
    """
    return (similarities(student) - similarities(teacher)).square().mean()
