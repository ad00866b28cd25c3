"""Impartial multi-task learning."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torchjd.scalarization import IMTLL

from tessera.multitask.balancing.base import Balancing
from tessera.multitask.balancing.gramian import correlations, lengths_of
from tessera.multitask.balancing.options.gradients import ImtlOptions


class Impartial(Balancing):
    """IMTL-G: the `d = sum_k w_k g_k`, sum of w 1, with equal `<d, g_k> / |g_k|`; IMTL-L: losses `exp(s_k) L_k - s_k`.

    Source: Liu et al., ICLR 2021, "Towards Impartial Multi-task Learning", Eq. 6 and 8. With C the cosines between the
    gradients, `w_k = x_k / |g_k|` to scale with C x = 1, which is the paper's matrix of differences without a first
    task. Where gradients depend on each other torchjd's pseudo-inverse of the Gram matrix leaves the projections
    unequal; here the part of C that is 0 counts as what rounding makes of it. The s_k, from 0 on, are learned with the
    network, by torchjd's `IMTLL`, one a task, so that one graph is alive at a time; gradients are those of the scaled
    losses. Weights can be negative.

    Scale: an affine combination of the gradients, about a K-th of `equal`'s sum where they are alike.
    """

    options: ImtlOptions

    def __init__(self, options: ImtlOptions, tasks: Sequence[str]) -> None:
        super().__init__(options, tasks)
        learned = options.balance in ("both", "losses")
        self.scales = nn.ModuleDict({str(place): IMTLL(()) for place in range(len(tasks))} if learned else {})

    def scale(self, task: str, loss: Tensor, number: int) -> Tensor:
        if not self.scales:
            return loss
        scale = self.scales[str(self.tasks.index(task))]
        assert isinstance(scale, IMTLL)
        if self.options.compares == "nothing":
            self.note({task: scale.log_scale.exp()})
        scaled: Tensor = scale(loss)
        return scaled

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        lengths = lengths_of(gramian)
        found = np.linalg.solve(correlations(gramian), np.ones(len(lengths))) / lengths
        return torch.from_numpy(found / found.sum())

    def groups(self) -> list[tuple[list[nn.Module], float]]:
        return [([self], self.options.lr_factor)]
