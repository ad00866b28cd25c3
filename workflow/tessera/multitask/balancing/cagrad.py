"""Conflict-averse gradient descent."""

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from tessera.multitask.balancing.base import Balancing
from tessera.multitask.balancing.gramian import Floats, points_of, shortest
from tessera.multitask.balancing.options.gradients import CagradOptions


class ConflictAverse(Balancing):
    """The d with the largest `min_k <g_k, d>` of those with `|d - g_0| <= c |g_0|`, g_0 the mean gradient.

    Source: Liu et al., NeurIPS 2021, arXiv:2110.14048, Eq. 3: `d = g_0 + c |g_0| g_w / |g_w|`, where w >= 0 with sum 1
    has the least `<g_w, g_0> + c |g_0| |g_w|`; `rescale` divides by `1 + c^2`, as the authors' code does. That w
    is also the one with the shortest `g_w + k g_0` for `k = |g_w| / (c |g_0|)`, which is how it is found, where the
    authors call a general solver and torchjd one for cones. Where no step helps every task, so that g_w = 0, d is g_0,
    as in the authors' code.

    Scale: about the mean of the gradients, a K-th of `equal`'s sum (the authors' code for NYUv2 multiplies it by K).
    """

    options: CagradOptions

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        c, number = self.options.c, len(losses)
        added = self._added(points_of(gramian), c) if c > 0 else np.zeros(number)
        weights = torch.from_numpy(1 / number + added)
        return weights / (1 + c**2) if self.options.rescale else weights

    @staticmethod
    def _added(points: Floats, c: float) -> Floats:
        """The weights of `c |g_0| g_w / |g_w|`."""
        mean = points.mean(axis=1)
        if not (size := float(np.linalg.norm(mean))):
            return np.zeros(len(mean))
        points, mean = points / size, mean / size

        def weights_at(log: float) -> Floats:
            return shortest(points + np.exp(log) * mean[:, None])

        def excess(log: float) -> float:
            return float(np.linalg.norm(points @ weights_at(log)) - c * np.exp(log))

        # No g_w is shorter than the shortest or longer than the longest gradient, and k = |g_w| / c.
        least = max(1e-15, float(np.linalg.norm(points @ shortest(points))))
        most = float(np.linalg.norm(points, axis=0).max())
        lower, upper = np.log(least / c) - 1e-9, np.log(most / c) + 1e-9
        if excess(lower) <= 0:
            return np.zeros(len(mean))
        log = brentq(excess, lower, upper, xtol=1e-13)
        added: Floats = weights_at(log) * np.exp(-log)
        return added
