"""What terms that compare maps of matched layers share, and what those that compare embeddings do."""

import logging
from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from tessera.models.encoders.base import LayeredNetwork
from tessera.models.networks.base import TargetNetwork
from tessera.training.compute import Compute
from tessera.transfer.images import TargetImages
from tessera.transfer.layers import Pair, match_layers
from tessera.transfer.method import TransferMethod
from tessera.transfer.seen import Reads, Seen
from tessera.transfer.teacher import Teacher

log = logging.getLogger("tessera")


class LayerTerm(TransferMethod):
    """`weight` times the sum, over pairs of layers, of a loss between their maps.

    Args:
        options: What the study set.

    Attributes:
        pairs: The layers, from the input on.
    """

    pairs: list[Pair]

    def fit_teacher(
        self, network: TargetNetwork, teacher: Teacher | None, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        """Matches the layers.

        Raises:
            StudyError: If a network lacks a layer that the study names.
        """
        self.teacher = self.need(teacher)
        self.pairs = self.match(network, self.teacher.encoder)
        if self.pairs:
            compared = ", ".join(f"{ours} with {theirs}" for ours, theirs in self.pairs)
            log.info("transfer %s: layers of student and teacher: %s", self.options.name, compared)
        self.reads = Reads(tuple(pair.student for pair in self.pairs), tuple(pair.teacher for pair in self.pairs))
        return {}

    def match(self, network: LayeredNetwork, encoder: LayeredNetwork) -> list[Pair]:
        """The layers of student and teacher that are compared."""
        return match_layers(self.options.layers, network, encoder, self.options.name)

    def term(self, seen: Seen, network: TargetNetwork) -> Tensor | None:
        with torch.autocast(seen.logits.device.type, enabled=False):
            return self.weight * torch.stack(self.losses(seen)).sum()

    @property
    def weight(self) -> float:
        """What the sum is multiplied by."""
        weight: float = self.options.weight
        return weight

    def losses(self, seen: Seen) -> list[Tensor]:
        """The losses that are added, each ()."""
        return self.compare(seen.student, seen.teacher)

    def compare(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> list[Tensor]:
        """The loss of each pair, from the networks' maps by name."""
        return [
            self.between(place, student[pair.student].float(), teacher[pair.teacher].float())
            for place, pair in enumerate(self.pairs)
        ]

    def between(self, place: int, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss of one pair, (); terms that give `losses` themselves have none.

        Args:
            place: Its place in `pairs`.

        Shape:
            student: (N, C, h, w); teacher: (N, C', h', w'); float32.
        """
        raise NotImplementedError


class EmbeddingTerm(TransferMethod):
    """A loss between a batch's embeddings: what the student's last linear layer reads, and the teacher's z, averaged.

    Args:
        options: What the study set.
    """

    def fit_teacher(
        self, network: TargetNetwork, teacher: Teacher | None, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        self.teacher = self.need(teacher)
        self.reads = Reads(features=True)
        return {}

    def term(self, seen: Seen, network: TargetNetwork) -> Tensor | None:
        with torch.autocast(seen.logits.device.type, enabled=False):
            return self.between(seen.embedding.float(), seen.features, seen)

    @abstractmethod
    def between(self, student: Tensor, teacher: Tensor, seen: Seen) -> Tensor:
        """The term, (), its weight included.

        Shape:
            student: (N, D); teacher: (N, D'); float32.
        """
