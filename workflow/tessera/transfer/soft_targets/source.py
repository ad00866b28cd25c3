"""The source's own classifier: its logits are the teacher's, and the student's classes are the same."""

import copy

from torch import Tensor

from tessera.models.heads.vectors import VectorHead
from tessera.models.networks.base import TargetNetwork
from tessera.training.compute import Compute
from tessera.transfer.images import TargetImages
from tessera.transfer.soft_targets.knowledge import Knowledge
from tessera.transfer.teacher import Teacher


class SourceClassifier(Knowledge):
    """Hinton's knowledge distillation: the teacher tells the target's classes apart, as its source taught it.

    Args:
        options: What the study set.
    """

    head: VectorHead

    def fit(
        self, network: TargetNetwork, teacher: Teacher, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        """Takes the classifier; nothing is learned.

        Raises:
            StudyError: If source and target have other classes.
        """
        classifier = teacher.classifier_of("soft_targets", images.dataset.classes)
        self.head = copy.deepcopy(classifier.head).eval().requires_grad_(False)
        return {}

    def logits(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head.layers(features)
        return logits

    def answer(self, z: Tensor, logits: Tensor) -> Tensor:
        return logits
