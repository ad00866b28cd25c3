"""Similarity-preserving distillation: two images that excite the teacher alike shall excite the student alike."""

from torch import Tensor

from tessera.transfer.options.relations import SimilarityOptions
from tessera.transfer.terms import LayerTerm
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


class Similarity(LayerTerm):
    """`CE + b sum_j |G_t - G_s|^2 / N^2`, at the last layer.

    Source: Tung & Mori 2019, with their b = 3000.

    Args:
        options: What the study set.
    """

    options: SimilarityOptions

    def between(self, place: int, student: Tensor, teacher: Tensor) -> Tensor:
        return similarity_loss(student, teacher)
