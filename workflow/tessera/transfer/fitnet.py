"""FitNets: a layer of the student is led by a hint, the middle one of the teacher's."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.models.networks.base import TargetNetwork
from tessera.training.compute import Compute
from tessera.transfer.images import TargetImages, Views
from tessera.transfer.layers import channels_of, to_one_size
from tessera.transfer.options.features import FitNetOptions
from tessera.transfer.seen import Reads, Seen
from tessera.transfer.teacher import Teacher
from tessera.transfer.terms import LayerTerm


class FitNet(LayerTerm):
    """`CE + b mean (r(A_s) - A_t)^2` at the middle stage, r a 1x1 convolution that is trained along and dropped after.

    Mode `two_stage` is the paper's: first the hint alone, without labels, for the student's layers up to the led one;
    then the labels, for all of it, from those weights. There it learned the teacher's softened answers too: list
    `soft_targets` beside it.

    Source: Romero et al., ICLR 2015, arXiv:1412.6550; b = 100 as in the tables of Tian et al. 2020. The larger map is
    averaged to the smaller one before.

    Args:
        options: What the study set.
    """

    options: FitNetOptions
    regressors: nn.ModuleList

    def fit_teacher(
        self, network: TargetNetwork, teacher: Teacher | None, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        figures = super().fit_teacher(network, teacher, images, compute, trial)
        encoder = self.teacher.encoder
        self.regressors = nn.ModuleList(
            nn.Conv2d(channels_of(network, ours), channels_of(encoder, theirs), 1) for ours, theirs in self.pairs
        )
        if self.options.two_stage:
            self._first, self.reads = self.reads, Reads()
        return figures

    def first_stage_loss(self, views: Views, network: TargetNetwork) -> Tensor:
        student = network.maps(views.inputs, dict.fromkeys(self._first.student))
        teacher = self.teacher.maps(views.pixels, dict.fromkeys(self._first.teacher))
        with torch.autocast(views.pixels.device.type, enabled=False):
            return torch.stack(self.compare(student, teacher)).sum()

    def term(self, seen: Seen, network: TargetNetwork) -> Tensor | None:
        return None if self.options.two_stage else super().term(seen, network)

    def own_modules(self) -> list[nn.Module]:
        return [] if self.options.two_stage else [self]  # there the regressors have done their work

    def between(self, place: int, student: Tensor, teacher: Tensor) -> Tensor:
        ours, theirs = to_one_size(student, teacher)
        return F.mse_loss(self.regressors[place](ours), theirs)
