"""Jacobian matching: how an answer would change with the pixels."""

import copy

import torch
from torch import Tensor

from tessera.models.encoders.base import LayeredNetwork
from tessera.models.heads.vectors import VectorHead
from tessera.models.networks.base import TargetNetwork
from tessera.training.compute import Compute
from tessera.transfer.images import TargetImages
from tessera.transfer.layers import Pair
from tessera.transfer.options.features import JacobianOptions
from tessera.transfer.seen import Reads, Seen
from tessera.transfer.teacher import Teacher
from tessera.transfer.terms import LayerTerm
from tessera.transfer.vectors import unit


def unit_jacobian(answers: Tensor, pixels: Tensor, differentiable: bool) -> Tensor:
    """The gradient of each image's answer with respect to its pixels, of unit length.

    In train mode batch normalisation makes an answer depend on the other images too: their part is in the gradient.

    Args:
        differentiable: Keep the graph of the gradient.

    Shape:
        answers: (N,), with a graph to the pixels.
        pixels: (N, 3, H, W).
        returns: (N, 3 H W).
    """
    (gradient,) = torch.autograd.grad(answers.sum(), pixels, create_graph=differentiable, retain_graph=True)
    return unit(gradient.flatten(1))


def largest_attention(maps: Tensor) -> Tensor:
    """The largest entry of `sum_c A_c^2`, (N, C, h, w) to (N,)."""
    return maps.square().sum(dim=1).flatten(1).amax(dim=1)


def jacobian_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of unit Jacobians, a sum over pixels, a mean over images.

    Source: Srinivas & Fleuret, ICML 2018, arXiv:1803.00443.

    Shape:
        student, teacher: (N, P).
        returns: (), from 0 to 4.
    """
    return (student - teacher).square().sum(dim=1).mean()


class Jacobian(LayerTerm):
    """`CE + b sum_j |J_t - J_s|^2`, J the unit gradients of one number with respect to the pixels, a sum over pixels.

    Source: Srinivas & Fleuret 2018, with b = 1. The number is each network's own largest entry of the attention map
    `sum_c A_c^2` of a layer, or its logit of the right class: then the source's own classifier must tell the target's
    classes apart. The paper matches the attention maps beside it: list `attention` too. Pixels are those in [0, 1] that
    both networks normalise in their own way, so that a pixel means the same to both.

    Args:
        options: What the study set.
    """

    options: JacobianOptions
    head: VectorHead

    def fit_teacher(
        self, network: TargetNetwork, teacher: Teacher | None, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        """Matches the layers, or takes the source's classifier.

        Raises:
            StudyError: If a network lacks a layer, or source and target have other classes.
        """
        figures = super().fit_teacher(network, teacher, images, compute, trial)
        if self.options.of == "logit":
            classifier = self.teacher.classifier_of(self.options.name, images.dataset.classes)
            self.head = copy.deepcopy(classifier.head).eval().requires_grad_(False)
            self.reads = Reads(teacher=(self.teacher.z,))
        return figures

    def match(self, network: LayeredNetwork, encoder: LayeredNetwork) -> list[Pair]:
        return [] if self.options.of == "logit" else super().match(network, encoder)

    def losses(self, seen: Seen) -> list[Tensor]:
        pixels = seen.views.pixels
        return [
            jacobian_loss(unit_jacobian(ours, pixels, differentiable=True), unit_jacobian(theirs, pixels, False))
            for ours, theirs in self._answers(seen)
        ]

    def _answers(self, seen: Seen) -> list[tuple[Tensor, Tensor]]:
        """The numbers of student and teacher whose gradients are compared, (N,) each."""
        if self.options.of == "logit":
            theirs = self.head(seen.attached[self.teacher.z].float())
            right = seen.labels[:, None]
            return [(seen.logits.gather(1, right).flatten(), theirs.gather(1, right).flatten())]
        return [
            (largest_attention(seen.student[ours].float()), largest_attention(seen.attached[theirs].float()))
            for ours, theirs in self.pairs
        ]
