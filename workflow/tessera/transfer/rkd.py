"""Relational knowledge distillation: distances and angles within a batch, not the embeddings themselves."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.transfer.options.relations import RkdOptions
from tessera.transfer.seen import Seen
from tessera.transfer.terms import EmbeddingTerm
from tessera.transfer.vectors import lengths, unit


def differences(embeddings: Tensor) -> Tensor:
    """`x_i - x_j` of every two, (N, D) to (N, N, D)."""
    return embeddings[:, None] - embeddings[None]


def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss of the pairs' distances, each side over the mean of its distances that are not 0.

    Source: Park, Kim, Lu & Cho, CVPR 2019, section 3.2, arXiv:1904.05068. As in the authors' code it is a mean over
    all N^2 pairs, those of an image with itself included.

    Shape:
        student: (N, N, D); teacher: (N, N, D'): `differences`.
        returns: ().
    """
    return F.smooth_l1_loss(_relative(lengths(student)), _relative(lengths(teacher)))


def angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss of `cos of the angle at x_j between x_i and x_k`, a mean over all N^3 triples.

    Source: Park et al. 2019, section 3.2. A triple with two embeddings that are equal has the cosine 0. The cosines
    are N^3 numbers: 1 MB for a batch of 64, 67 MB for 256.

    Shape:
        student: (N, N, D); teacher: (N, N, D'): `differences`.
        returns: ().
    """
    return F.smooth_l1_loss(_cosines(student), _cosines(teacher))


def _relative(distances: Tensor) -> Tensor:
    number = (distances > 0).sum().clamp_min(1)
    mean = distances.sum() / number
    return distances / torch.where(mean > 0, mean, 1.0)


def _cosines(vectors: Tensor) -> Tensor:
    units = unit(vectors)
    return units @ units.mT


class Rkd(EmbeddingTerm):
    """`CE + b_d L_distance + b_a L_angle` of a batch's embeddings.

    Source: Park et al. 2019, with their weights 25 and 50.

    Args:
        options: What the study set.
    """

    options: RkdOptions

    def between(self, student: Tensor, teacher: Tensor, seen: Seen) -> Tensor:
        ours, theirs = differences(student), differences(teacher)
        weighted = [
            weight * loss(ours, theirs)
            for weight, loss in ((self.options.distance, distance_loss), (self.options.angle, angle_loss))
            if weight > 0  # the angles are N^3 numbers
        ]
        return torch.stack(weighted).sum()
