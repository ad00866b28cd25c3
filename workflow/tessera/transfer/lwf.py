"""Learning without forgetting: the encoder learns new classes, and keeps answering as it did about the old ones."""

import copy

import torch
from torch import Tensor

from tessera.models.heads.vectors import VectorHead
from tessera.models.networks.base import TargetNetwork
from tessera.training.compute import Compute
from tessera.transfer.fine_tune import FineTune
from tessera.transfer.images import TargetImages
from tessera.transfer.options.soft import LearningWithoutForgettingOptions
from tessera.transfer.seen import Reads, Seen
from tessera.transfer.soft_targets.method import soft_cross_entropy
from tessera.transfer.teacher import Teacher


class LearningWithoutForgetting(FineTune):
    """`CE(y, q) + weight CE(p_T, o_T)`: o are the answers of the source's own classifier on the encoder as it learns.

    Source: Li & Hoiem, ECCV 2016, arXiv:1606.09282, eq. (2): T = 2, both losses count alike, no factor T^2. p are that
    classifier's answers on the encoder as the source left it. The old classifier learns on; it is dropped with the
    training, since the target is measured. Their warm-up, in which the new layer alone learns, is left out: `lr_factor`
    below 1 serves the same end.

    Args:
        options: What the study set.
    """

    options: LearningWithoutForgettingOptions
    old: VectorHead
    head: VectorHead

    def fit_teacher(
        self, network: TargetNetwork, teacher: Teacher | None, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        """Takes the source's classifier.

        Raises:
            StudyError: If the source has none.
        """
        self.teacher = self.need(teacher)
        head = self.teacher.need_classifier(self.options.name).head
        self.old = copy.deepcopy(head).eval().requires_grad_(False)
        self.head = copy.deepcopy(head).train().requires_grad_(True)
        self.reads = Reads(features=True)
        return {}

    def term(self, seen: Seen, network: TargetNetwork) -> Tensor:
        with torch.no_grad(), torch.autocast(seen.logits.device.type, enabled=False):
            before = self.old.layers(seen.features)
        now = self.head(seen.z).float()
        return self.options.weight * soft_cross_entropy(now, before, self.options.temperature)
