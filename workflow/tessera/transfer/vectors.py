"""Lengths and directions, with a finite gradient where a vector is 0: a dead map, or two images that are alike."""

import torch
from torch import Tensor


def lengths(vectors: Tensor) -> Tensor:
    """Euclidean lengths of vectors (…, D); the gradient of a zero vector's is 0."""
    squares = vectors.square().sum(dim=-1)
    alive = squares > 0
    return torch.where(alive, squares, 1.0).sqrt() * alive


def unit(vectors: Tensor) -> Tensor:
    """Vectors (…, D) over their lengths; a zero vector stays 0, and its gradient is that of the vector as it is.

    `F.normalize` divides such a vector by its epsilon, and so its gradient too: 10^12 times what it should be.
    """
    found = lengths(vectors)
    return vectors / torch.where(found > 0, found, 1.0)[..., None]
