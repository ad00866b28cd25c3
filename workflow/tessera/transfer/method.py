"""What every transfer method is."""

from abc import ABC
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from tessera.data.store import Split
from tessera.errors import StudyError
from tessera.models.networks.base import TargetNetwork
from tessera.training.compute import Compute
from tessera.transfer.images import TargetImages, Views
from tessera.transfer.seen import Reads, Seen
from tessera.transfer.teacher import Teacher


class TransferMethod(nn.Module, ABC):
    """How knowledge reaches the target network. A module, since some methods have trainable adapters.

    A training minimises `label_weight` times the cross-entropy with the labels, plus the method's term. Each network
    sees a batch once: what a term reads of it stands in `reads`.

    Args:
        options: What the study set.

    Attributes:
        reads: Maps that the term reads; set by `fit_teacher` at the latest.
        label_weight: Weight of the cross-entropy with the labels.
    """

    reads: Reads = Reads()
    label_weight: float = 1.0

    def __init__(self, options: Any) -> None:
        super().__init__()
        self.options = options

    def build_network(self, network: TargetNetwork | None, teacher: Teacher | None, num_classes: int) -> TargetNetwork:
        """The network that is trained; the target network as it is, unless the method is one with the encoder."""
        assert network is not None
        return network

    def fit_teacher(
        self, network: TargetNetwork, teacher: Teacher | None, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        """What must be learned or measured of the teacher before training; returns figures to report.

        Repeats exactly for the same arguments: a resumed training calls it again. `network` is new, and stays so.
        """
        return {}

    def first_stage_images(self, images: TargetImages) -> Split:
        """Images of the first stage, which reads no labels."""
        return images.dataset.train

    def first_stage_loss(self, views: Views, network: TargetNetwork) -> Tensor:
        """Loss of the first stage, from the source alone, (), float32; only two-stage methods have one."""
        raise NotImplementedError

    def first_stage_groups(self, network: TargetNetwork) -> list[tuple[list[nn.Module], float]]:
        """(modules, factor on the learning rate) pairs for the first stage."""
        return [([network, self], 1.0)]

    def begin_epoch(
        self, network: TargetNetwork, images: TargetImages, compute: Compute, trial: int, epoch: int
    ) -> dict[str, float]:
        """Called before each epoch of the stage with labels; returns figures for the epoch's row of the history.

        What it finds out lies in buffers, and depends on its arguments, these buffers and torch's random numbers, which
        are seeded anew for each call: so a resumed training ends with the same bytes. `network` stays as it is.
        """
        return {}

    def loss(self, seen: Seen, network: TargetNetwork) -> Tensor:
        """Loss of the stage with labels, () float32."""
        hard = self.label_weight * F.cross_entropy(seen.logits, seen.labels)
        term = self.term(seen, network)
        return hard if term is None else hard + term

    def term(self, seen: Seen, network: TargetNetwork) -> Tensor | None:
        """What is added to the cross-entropy with the labels, its weight included: () float32; None: nothing."""
        return None

    def network_groups(self, network: TargetNetwork) -> list[tuple[list[nn.Module], float]]:
        """(modules of the network, factor on the learning rate) pairs for the stage with labels."""
        return [([network], 1.0)]

    def own_modules(self) -> list[nn.Module]:
        """What is trained beside the network in the stage with labels, at its learning rate."""
        return [self]

    def parameter_groups(self, network: TargetNetwork) -> list[tuple[list[nn.Module], float]]:
        """All that is trained in the stage with labels: modules of one factor stand together."""
        *groups, (modules, factor) = self.network_groups(network)
        own = self.own_modules()
        if factor == 1:
            return [*groups, ([*modules, *own], factor)]
        return [*groups, (modules, factor), (own, 1.0)]

    def need(self, teacher: Teacher | None) -> Teacher:
        """The teacher.

        Raises:
            StudyError: If there is none.
        """
        if teacher is None:
            raise StudyError(
                f"transfer `{self.options.name}` needs a source encoder, but the job has no input `source`"
            )
        return teacher
