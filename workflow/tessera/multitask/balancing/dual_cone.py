"""Projections onto the dual cone: the vectors that go against no task's gradient."""

import numpy as np
import torch
from torch import Tensor

from tessera.multitask.balancing.base import Balancing
from tessera.multitask.balancing.gramian import into_dual_cone, points_of
from tessera.multitask.balancing.options.gradients import DualProjOptions, UpgradOptions


class UnconflictingGradients(Balancing):
    """UPGrad: the mean of the gradients, each projected onto the dual cone of all.

    Source: Quinton & Rey 2024, arXiv:2406.16232, section 3; exact, where torchjd adds 1e-4 to the Gram matrix.

    Scale: the mean of the gradients where none conflict, a K-th of `equal`'s sum.
    """

    options: UpgradOptions

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        points = points_of(gramian)
        return torch.from_numpy(np.mean([into_dual_cone(points, row) for row in np.eye(len(losses))], axis=0))


class ProjectedMean(Balancing):
    """DualProj: the mean of the gradients, projected onto their dual cone.

    Source: Lopez-Paz & Ranzato, NeurIPS 2017, arXiv:1706.08840, Eq. 11; exact, where torchjd adds 1e-4 to the Gram
    matrix.

    Scale: the mean of the gradients where it goes against none, a K-th of `equal`'s sum.
    """

    options: DualProjOptions

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        return torch.from_numpy(into_dual_cone(points_of(gramian), np.full(len(losses), 1 / len(losses))))
