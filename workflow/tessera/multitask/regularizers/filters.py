"""From a feature map to a distribution over channels: a weighted average over space, then a normalisation."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class SpatialAverage(nn.Module):
    """Average over space with the same weight everywhere.

    Shape:
        features: (M, C, h, w) float32.
        returns: (M, C) float32.
    """

    def forward(self, features: Tensor) -> Tensor:
        return features.mean(dim=(2, 3))


class AttentionAverage(nn.Module):
    """Average over space, weighted by the softmax of each place's `score`: its mean over the channels.

    Source: Kim, Lee & Song 2019, section 3.1, say "weighted average" and no more; the weights are our reading
    (docs/methods.md 1.4). They have no parameters and suit any size of map.

    Shape:
        features: (M, C, h, w) float32.
        returns: (M, C) float32.
    """

    def forward(self, features: Tensor) -> Tensor:
        weights = self.score(features).flatten(1).softmax(dim=1)  # (M, h * w)
        return (features.flatten(2) * weights[:, None]).sum(dim=2)

    def score(self, features: Tensor) -> Tensor:
        return features.mean(dim=1)


class LearnedAverage(AttentionAverage):
    """As `AttentionAverage`, with a learned mixture of the channels as the score.

    Args:
        num_features: Channels C.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.mixture = nn.Conv2d(num_features, 1, kernel_size=1, bias=False)  # softmax is blind to a bias

    def score(self, features: Tensor) -> Tensor:
        return self.mixture(features)  # type: ignore[no-any-return]


FILTERS: dict[str, Callable[[int], nn.Module]] = {
    "gap": lambda num_features: SpatialAverage(),
    "attention": lambda num_features: AttentionAverage(),
    "learned": LearnedAverage,
}


def softmax_std(vectors: Tensor) -> Tensor:
    """Softmax of the standardised vector: blind to the features' scale, which else would simply shrink."""
    # The constant in the root keeps the gradient finite where all channels are equal, as in dead features.
    std = (vectors.var(dim=-1, correction=0, keepdim=True) + 1e-20).sqrt()
    return ((vectors - vectors.mean(dim=-1, keepdim=True)) / (std + 1e-5)).softmax(dim=-1)


def softmax(vectors: Tensor) -> Tensor:
    """Plain softmax."""
    return vectors.softmax(dim=-1)


def l1(vectors: Tensor) -> Tensor:
    """Shares of the positive parts: keeps sparsity."""
    parts = vectors.relu() + 1e-6
    return parts / parts.sum(dim=-1, keepdim=True)


NORMALIZATIONS: dict[str, Callable[[Tensor], Tensor]] = {"softmax_std": softmax_std, "softmax": softmax, "l1": l1}


class ChannelDistribution(nn.Module):
    """F of the paper, then a normalisation: the share of each channel in an image's features.

    Args:
        filter_name: One of `FILTERS`.
        normalization: One of `NORMALIZATIONS`.
        num_features: Channels C.

    Shape:
        features: (M, C, h, w), any float dtype.
        returns: (M, C) float32, sums 1; always in float32, since small shares underflow below it.
    """

    def __init__(self, filter_name: str, normalization: str, num_features: int) -> None:
        super().__init__()
        self.filter = FILTERS[filter_name](num_features)
        self.normalize = NORMALIZATIONS[normalization]

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return self.normalize(self.filter(features.float()))
