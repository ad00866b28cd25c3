"""Retrieval: are an image's nearest neighbours of its class?"""

import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.protocols.labels import percent


def nearest_neighbors(points: Tensor, count: int) -> Tensor:
    """Each point's nearest others by cosine, nearest first; the point itself is left out.

    Args:
        count: Neighbours of each; all the others where there are fewer.

    Shape:
        points: (N, D) float32, N >= 2.
        returns: (N, min(count, N - 1)) int64, rows of `points`.
    """
    unit = F.normalize(points, dim=1)
    found = []
    for start in range(0, len(unit), 1024):  # bounds the (batch, N) matrix of cosines
        cosines = unit[start : start + 1024] @ unit.T
        cosines[:, start:].fill_diagonal_(-torch.inf)
        found.append(cosines.topk(min(count, len(unit) - 1)).indices)
    return torch.cat(found)


def recalls(labels: Tensor, neighbors: Tensor, counts: tuple[int, ...] = (1, 5, 10)) -> dict[str, float]:
    """`recall_at_k`: share of queries with at least one image of their class among the first k, in percent.

    Shape:
        labels: (N,) int64; neighbors: (N, M) int64, nearest first.
    """
    same = labels[neighbors] == labels[:, None]
    return {f"recall_at_{count}": percent(same[:, :count].any(1)) for count in counts}
