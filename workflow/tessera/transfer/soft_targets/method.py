"""Soft targets: the student imitates the teacher's softened distribution beside the labels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.models.networks.base import TargetNetwork
from tessera.training.compute import Compute
from tessera.transfer.images import TargetImages
from tessera.transfer.method import TransferMethod
from tessera.transfer.options.soft import SoftTargetsOptions
from tessera.transfer.seen import Reads, Seen
from tessera.transfer.soft_targets.clusters import Clusters
from tessera.transfer.soft_targets.knowledge import Knowledge
from tessera.transfer.soft_targets.probe import Probe
from tessera.transfer.soft_targets.source import SourceClassifier
from tessera.transfer.teacher import Teacher

KNOWLEDGE: dict[str, type[Knowledge]] = {"probe": Probe, "clusters": Clusters, "source": SourceClassifier}


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the student with the teacher, both softened: `-sum_k p_k log q_k`, mean over the batch.

    Source: Hinton, Vinyals & Dean 2015, section 2, arXiv:1503.02531; p = softmax(teacher / T), q of the student alike.

    Args:
        temperature: T, above 0.

    Shape:
        student, teacher: (N, K) float32 logits.
        returns: ().
    """
    return F.cross_entropy(student / temperature, (teacher / temperature).softmax(dim=1))


class SoftTargets(TransferMethod):
    """`(1 - a) CE(y, q) + a T^2 CE(p_T, q_T)`; T^2 keeps the size of the soft term's gradient whatever T is.

    Source: Hinton, Vinyals & Dean 2015. A self-supervised source has no classes, and Kim, Lee & Song 2019 do not say
    whose distribution p is: we take that of a probe on the target's labels, or of k-means clusters (then q is a head of
    its own on the student's last map, averaged over space, which is used for this term only). A source that learned the
    target's classes has a distribution of its own (`source`).

    Args:
        options: What the study set.
    """

    options: SoftTargetsOptions

    def __init__(self, options: SoftTargetsOptions) -> None:
        super().__init__(options)
        self.label_weight = 1 - options.weight
        self.knowledge = KNOWLEDGE[options.teacher](options)

    def fit_teacher(
        self, network: TargetNetwork, teacher: Teacher | None, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        self.teacher = self.need(teacher)
        self.reads = Reads(features=True)
        return self.knowledge.fit(network, self.teacher, images, compute, trial)

    def term(self, seen: Seen, network: TargetNetwork) -> Tensor:
        options = self.options
        # In float32: a distance to a centre is a small difference of large numbers.
        with torch.no_grad(), torch.autocast(seen.z.device.type, enabled=False):
            softened = self.knowledge.logits(seen.features)
        soft = soft_cross_entropy(self.knowledge.answer(seen.z, seen.logits).float(), softened, options.temperature)
        scale = options.temperature**2 if options.scale_by_temperature else 1.0
        return options.weight * scale * soft
