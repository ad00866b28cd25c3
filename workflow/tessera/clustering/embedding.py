"""Embeddings: the space in which features are clustered."""

import logging
import math

import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

from tessera.clustering.kmeans import Clusters, kmeans
from tessera.training.compute import library_threads

log = logging.getLogger("tessera")

DIMENSIONS = 10


class Scale(nn.Module):
    """Features divided by a fixed number.

    Shape:
        features: (N, C); returns: (N, C).
    """

    def __init__(self, unit: float) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, features: Tensor) -> Tensor:
        return features / self.unit


def pca_layer(features: Tensor, dimensions: int = DIMENSIONS) -> nn.Linear:
    """A linear layer to the first principal components, centred, scaled to a total variance of 1.

    The t-kernel's unit is one: in a space of unit variance it neither saturates nor is blind.

    Shape:
        features: (N, C) float32. Where C or N - 1 is below `dimensions`, there are that many.
    """
    dimensions = max(1, min(dimensions, features.shape[1], len(features) - 1))
    with library_threads():
        pca = PCA(dimensions, svd_solver="covariance_eigh").fit(features.cpu().double().numpy())
    components = torch.from_numpy(pca.components_) / _unit(float(pca.explained_variance_.sum()))
    layer = nn.Linear(features.shape[1], dimensions)
    with torch.no_grad():
        layer.weight.copy_(components)
        layer.bias.copy_(-components @ torch.from_numpy(pca.mean_))
    return layer.to(features.device)


def embed_features(kind: str, features: Tensor, clusters: int, restarts: int, seed: int) -> tuple[nn.Module, Clusters]:
    """The embedding of these features, and the clusters that k-means finds in it.

    Source: methods of Kim, Lee & Song 2019, section 4.4, where an encoder takes the place of the stacked autoencoder
    of Xie et al. 2016, whose code is 10-dimensional as well.

    Args:
        kind: `linear10`: a trainable layer that starts from PCA; `pca`: the same, fixed; `gap`: plain features, divided
            by the root mean squared distance to the nearest centre.

    Shape:
        features: (N, C) float32.
    """
    if kind == "gap":
        found = kmeans(features, clusters, restarts, seed)
        unit = _unit(found.mean_square)
        return Scale(unit), Clusters(found.centers / unit, found.assignments, found.mean_square / unit**2)
    layer = pca_layer(features).requires_grad_(kind == "linear10")
    with torch.no_grad():
        return layer, kmeans(layer(features), clusters, restarts, seed)


def _unit(square: float) -> float:
    if square < 1e-12:
        log.warning("clustering: the encoder gives every image (almost) the same features; they are left unscaled")
        return 1.0
    return math.sqrt(square)
