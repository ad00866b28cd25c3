"""k-means: the clusters that deep embedded clustering starts from."""

import warnings
from typing import NamedTuple

import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from tessera.training.compute import library_threads


class Clusters(NamedTuple):
    """Centres and who is nearest to them.

    Shape:
        centers: (K, D) float32.
        assignments: (N,) int64.
        mean_square: The mean squared distance to the nearest centre.
    """

    centers: Tensor
    assignments: Tensor
    mean_square: float


def kmeans(points: Tensor, clusters: int, restarts: int, seed: int) -> Clusters:
    """The best of several runs of Lloyd's algorithm from k-means++ starts.

    Shape:
        points: (N, D) float32, N >= clusters.
        returns: on the device of `points`.
    """
    # Lloyd and never Elkan, whose bounds cost more than they save at these dimensions.
    model = KMeans(clusters, n_init=restarts, algorithm="lloyd", random_state=seed % 2**32)
    with library_threads(), warnings.catch_warnings():
        # Fewer distinct points than clusters: empty clusters, which the caller reports.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(points.cpu().numpy())
    return Clusters(
        torch.from_numpy(model.cluster_centers_).to(points),
        torch.from_numpy(model.labels_).long().to(points.device),
        float(model.inertia_) / len(points),
    )
