"""Heads that answer for the whole image, from z of any height and width."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


def pool(features: Tensor) -> Tensor:
    """Global average pooling: (N, C, h, w) to (N, C)."""
    return features.mean(dim=(2, 3))


def dense_layers(num_inputs: int, hidden: Sequence[int], num_outputs: int, dropout: float) -> nn.Sequential:
    """Hidden layers with ReLU and dropout, and a last linear layer."""
    layers: list[nn.Module] = []
    for inner in hidden:
        layers += [nn.Linear(num_inputs, inner), nn.ReLU(), nn.Dropout(dropout)]
        num_inputs = inner
    return nn.Sequential(*layers, nn.Linear(num_inputs, num_outputs))


class VectorHead(nn.Module):
    """Global average pooling, hidden layers with ReLU and dropout, and a last linear layer.

    Args:
        num_features: Channels of z.
        hidden: Units of the hidden layers; may be empty.
        num_outputs: Units of the last layer.
        dropout: On each hidden layer, 0 to below 1.

    Shape:
        features: (N, num_features, h, w).
        returns: (N, num_outputs).
    """

    def __init__(self, num_features: int, hidden: Sequence[int], num_outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = dense_layers(num_features, hidden, num_outputs, dropout)

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.layers(pool(features))
        return output


class ProjectionHead(nn.Module):
    """Global average pooling, hidden layers with ReLU, and a last linear layer, to vectors that are compared.

    Source: Chen, Kornblith, Norouzi & Hinton, ICML 2020 (SimCLR), section 2.1, arXiv:2002.05709: one hidden layer.

    Args:
        num_features: Channels of z.
        hidden: Units of the hidden layers; may be empty.
        dim: Numbers of a vector.
        batch_norm: Normalise after each layer, which then has no bias, as in the authors' code (whose last norm shifts
            nothing, while ours does).

    Shape:
        features: (N, num_features, h, w); N at least 2 with `batch_norm`.
        returns: (N, dim).
    """

    def __init__(self, num_features: int, hidden: Sequence[int], dim: int, *, batch_norm: bool) -> None:
        super().__init__()
        if not batch_norm:
            self.layers = dense_layers(num_features, hidden, dim, dropout=0.0)
            return
        widths, layers = [num_features, *hidden, dim], list[nn.Module]()
        for inner, outer in pairwise(widths):
            layers += [nn.Linear(inner, outer, bias=False), nn.BatchNorm1d(outer), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.layers(pool(features))
        return output
