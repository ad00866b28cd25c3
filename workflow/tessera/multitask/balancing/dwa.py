"""Dynamic weight average: tasks whose loss falls slowly count for more."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tessera.multitask.balancing.base import Balancing
from tessera.multitask.balancing.options.losses import DwaOptions


class DynamicWeightAverage(Balancing):
    """`lambda_k = K softmax_k(w_k / T)`, w_k = L_k(t - 1) / L_k(t - 2) of the epochs' mean losses; one for two epochs.

    Source: Liu, Johns & Davison, CVPR 2019, arXiv:1803.10704, Eq. 7. A mean that is not positive has no meaningful
    ratio, and w_k is then 1: that of a task without any label is 0 in every epoch. torchjd's `DWA` keeps its history
    outside of its state, so that a resumed training would differ; it is what the test compares with.
    """

    options: DwaOptions
    losses: Tensor
    factors: Tensor

    def __init__(self, options: DwaOptions, tasks: Sequence[str]) -> None:
        super().__init__(options, tasks)
        # Of the epoch before the last, and of the last; no number where there was none.
        self.register_buffer("losses", torch.full((2, len(self.tasks)), torch.nan, dtype=torch.float64))
        self.register_buffer("factors", torch.ones(len(self.tasks)))

    def scale(self, task: str, loss: Tensor, number: int) -> Tensor:
        factor = self.factors[self.tasks.index(task)]
        self.note({task: factor})
        return factor * loss

    def end_epoch(self, losses: Mapping[str, float]) -> None:
        newer = torch.tensor([losses[task] for task in self.tasks], dtype=torch.float64)
        older = self.losses[1].cpu().clone()
        self.losses.copy_(torch.stack([older, newer]))
        if older.isfinite().all():
            ratios = torch.where((older > 0) & (newer > 0), newer / older, 1.0)
            self.factors.copy_(len(self.tasks) * (ratios / self.options.temperature).softmax(dim=0))
