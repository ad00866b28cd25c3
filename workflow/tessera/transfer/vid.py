"""Variational information distillation: the student's maps shall tell as much as possible of the teacher's."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.models.encoders.base import LayeredNetwork
from tessera.models.networks.base import TargetNetwork
from tessera.training.compute import Compute
from tessera.transfer.images import TargetImages
from tessera.transfer.layers import Pair, channels_of, to_one_size
from tessera.transfer.options.features import VidOptions
from tessera.transfer.seen import Seen
from tessera.transfer.teacher import Teacher
from tessera.transfer.terms import LayerTerm

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


class Vid(LayerTerm):
    """`CE - b sum_j log q(t_j | s_j)`, each a mean over entries: at stages' ends, the penultimate layer, or both.

    Source: Ahn et al. 2019 (VID-I and VID-LP); b = 1 and the first variance as in the tables of Tian et al. 2020. The
    penultimate layers are what the student's last linear layer reads, and the teacher's z, averaged; there m is linear.
    The larger map is averaged to the smaller one before.

    Args:
        options: What the study set.
    """

    options: VidOptions
    intermediate: nn.ModuleList
    penultimate: nn.ModuleList

    def fit_teacher(
        self, network: TargetNetwork, teacher: Teacher | None, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        figures = super().fit_teacher(network, teacher, images, compute, trial)
        encoder = self.teacher.encoder
        self.intermediate = nn.ModuleList(
            Variational(channels_of(network, ours), channels_of(encoder, theirs)) for ours, theirs in self.pairs
        )
        self.penultimate = nn.ModuleList()
        if self.options.places != "intermediate":
            self.penultimate.append(Variational(network.embedding_size, encoder.num_features, depth=1))
            self.reads = self.reads._replace(features=True)
        return figures

    def match(self, network: LayeredNetwork, encoder: LayeredNetwork) -> list[Pair]:
        return [] if self.options.places == "penultimate" else super().match(network, encoder)

    def losses(self, seen: Seen) -> list[Tensor]:
        found = super().losses(seen)
        for variational in self.penultimate:
            found.append(variational(seen.embedding.float()[:, :, None, None], seen.features[:, :, None, None]))
        return found

    def between(self, place: int, student: Tensor, teacher: Tensor) -> Tensor:
        found: Tensor = self.intermediate[place](*to_one_size(student, teacher))
        return found
