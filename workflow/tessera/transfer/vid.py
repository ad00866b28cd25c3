"""Variational information distillation: the student's maps shall tell as much as possible of the teacher's."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FIRST_VARIANCE = 5.0
SMALLEST_VARIANCE = 1e-5


def gaussian_nll(mean: Tensor, target: Tensor, variance: Tensor) -> Tensor:
    """`(log s^2 + (t - m)^2 / s^2) / 2`, a mean over all entries: -log q(t | m) without its constant.

    Written out, since `F.gaussian_nll_loss` looks at the variances' signs, and so waits for the device.

    Shape:
        mean, target: (N, C, …); variance: broadcast to them, above 0.
        returns: (); negative where the variances are small.
    """
    return 0.5 * (variance.log() + (target - mean).square() / variance).mean()


class Variational(nn.Module):
    """q(t | s) = N(t; m(s), s_c^2): how the teacher's map follows from the student's.

    Source: Ahn, Hu, Damianou, Lawrence & Dai, CVPR 2019, arXiv:1904.05835. m is three 1x1 convolutions
    with ReLU between them, as wide as the teacher's map, or (`depth` 1) a linear one. One variance a channel,
    softplus(rho) + 1e-5, from 5 on.

    Args:
        student, teacher: Channels of the two maps.
        depth: Number of convolutions.
    """

    def __init__(self, student: int, teacher: int, depth: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (student, *[teacher] * (depth - 1)):
            layers += [nn.Conv2d(inputs, teacher, 1, bias=False), nn.ReLU()]
        self.mean = nn.Sequential(*layers[:-1])
        # One dimension: the optimiser decays such parameters never.
        self.rho = nn.Parameter(torch.full((teacher,), math.log(math.expm1(FIRST_VARIANCE - SMALLEST_VARIANCE))))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """-log q(t | s), a mean over all entries.

        Shape:
            student: (N, C, h, w); teacher: (N, C', h, w).
            returns: ().
        """
        variance = F.softplus(self.rho) + SMALLEST_VARIANCE
        return gaussian_nll(self.mean(student), teacher, variance[:, None, None])
