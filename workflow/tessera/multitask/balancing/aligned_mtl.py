"""Aligned multi-task learning."""

import numpy as np
import torch
from torch import Tensor

from tessera.multitask.balancing.base import Balancing
from tessera.multitask.balancing.options.gradients import AlignedMtlOptions

_ROUNDING = float(np.finfo(np.float32).eps)


class AlignedGradients(Balancing):
    """`w = s sum_i v_i v_i^T 1 / sqrt(e_i)`, e_i and v_i eigenvalues and vectors of the Gram matrix, s a scale.

    Source: Senushkin et al., CVPR 2023, Algorithm 1, in the form of the authors' code: the aligned gradients are added
    up, where torchjd takes their mean, and an eigenvalue below what rounding to float32 makes of 0 counts as 0, also in
    the choice of s. A gradient of length 0 changes nothing.

    Scale: `equal`'s sum where the gradients are orthogonal and of one length; else `min` is shorter.
    """

    options: AlignedMtlOptions

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        values, vectors = np.linalg.eigh(gramian.numpy())
        kept = values > values.max() * len(values) * _ROUNDING
        if not kept.any():
            return torch.ones_like(losses)
        values, vectors = values[kept], vectors[:, kept]
        scale = {"min": values[0], "median": np.sort(values)[(len(values) - 1) // 2], "rmse": values.mean()}
        weights = vectors @ (np.sqrt(scale[self.options.scale] / values) * vectors.sum(axis=0))
        return torch.from_numpy(weights)
