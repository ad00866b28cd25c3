"""Omega: divergence of the features' channel distribution from an anchor."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from tessera.models.encoders.base import Encoder
from tessera.multitask.regularizers.anchors import ANCHORS
from tessera.multitask.regularizers.base import Pass, Regularizer
from tessera.multitask.regularizers.distances import distance
from tessera.multitask.regularizers.filters import ChannelDistribution
from tessera.multitask.regularizers.options import DivergenceOptions


class Divergence(Regularizer):
    """Weight times the mean over the batch of D(v, v_p).

    Source: Kim, Lee & Song 2019, Eq. 3 and Table 5. The paper leaves the filter, the normalisation and the
    anchor v_p open; their readings are options, explained in docs/methods.md 1.4. Every metric is computed in float32.

    Shape:
        features: (M, C, h, w), exactly what the task's head reads (for puzzles, the features of all tiles).
        returns: () float32, not negative.
    """

    def __init__(
        self, options: DivergenceOptions, num_features: int, heads: Mapping[str, Callable[[], nn.Module]]
    ) -> None:
        super().__init__(options, num_features, heads)
        self.metric, self.weight, self.scaled = options.metric, options.weight, options.scaled
        self.distribution = ChannelDistribution(options.filter, options.normalization, num_features)
        self.anchor = ANCHORS[options.anchor](options, num_features)

    def begin_epoch(self, encoder: Encoder, epoch: int) -> None:
        self.anchor.begin_epoch(encoder, epoch)

    def forward(self, seen: Pass) -> Tensor:
        if self.weight == 0 or not self.anchor.active:
            return seen.features.new_zeros(
                (), dtype=torch.float32
            )  # recorded, so that every epoch has the same columns
        shares = self.distribution(seen.features)
        anchor = self.anchor(shares, lambda encoder: self.distribution(seen.by_encoder(encoder)))
        return self.weight * distance(self.metric, shares, anchor, scaled=self.scaled).mean()
