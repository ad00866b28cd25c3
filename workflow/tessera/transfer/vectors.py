"""Lengths and directions, with a finite gradient where a vector is 0: a dead map, or two images that are alike."""

import torch
from torch import Tensor

SHORTEST = 1e-15  # of a shorter one the gradient of the direction overflows in float32 on its way


def lengths(vectors: Tensor) -> Tensor:
    """Euclidean lengths of vectors (…, D); 0 with the gradient 0 where a vector is 0, or as good as 0."""
    squares = vectors.square().sum(dim=-1)
    alive = squares > SHORTEST**2
    return torch.where(alive, squares, 1.0).sqrt() * alive


def unit(vectors: Tensor) -> Tensor:
    """Vectors (…, D) over their lengths; one without a length stays as it is, and so does its gradient.

    `F.normalize` divides such a vector by its epsilon, and so its gradient too: 10^12 times what it should be.
    """
    found = lengths(vectors)
    return vectors / torch.where(found > 0, found, 1.0)[..., None]
