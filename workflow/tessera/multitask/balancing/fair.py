"""Weights by bargaining: Nash-MTL, and its generalisation FairGrad."""

import torch
from torch import Tensor

from tessera.multitask.balancing.base import Balancing
from tessera.multitask.balancing.gramian import fairest
from tessera.multitask.balancing.options.gradients import FairgradOptions, NashMtlOptions


class NashBargaining(Balancing):
    """The w > 0 with `G w = 1 / w`, G the Gram matrix: the product of the tasks' gains `<g_k, d>` is largest.

    Source: Navon et al., ICML 2022, arXiv:2202.01017, Eq. 2. The authors approximate w by 20 convex programmes;
    Newton's method finds it to rounding. They clip the norm of the gradient at 1 (`source.optimizer.clip_norm`).

    Scale: d is always sqrt(K) long, however long the gradients are, and does not shrink as they do.
    """

    options: NashMtlOptions

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        return torch.from_numpy(fairest(gramian, 1.0))


class FairGradients(Balancing):
    """The w > 0 with `(G w)_k = w_k^(-1 / alpha)`, G the Gram matrix: gains `<g_k, d>` that are alpha-fair.

    Source: Ban & Ji, ICML 2024, arXiv:2402.15638, Eq. 4. The authors and torchjd minimise the squared difference of
    both sides; Newton's method finds it to rounding.

    Scale: gradients that are s times as long give a d that is s^((1 - alpha) / (1 + alpha)) times as long.
    """

    options: FairgradOptions

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        return torch.from_numpy(fairest(gramian, self.options.alpha))
