"""What every transfer method is."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from tessera.data.store import Split
from tessera.errors import StudyError
from tessera.models.networks.base import TargetNetwork
from tessera.training.compute import Compute
from tessera.transfer.images import TargetImages, Views
from tessera.transfer.teacher import Teacher


class TransferMethod(nn.Module, ABC):
    """How knowledge reaches the target network. A module, since some methods have trainable adapters.

    Args:
        options: What the study set.
    """

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

    @abstractmethod
    def loss(self, views: Views, labels: Tensor, network: TargetNetwork) -> tuple[Tensor, Tensor]:
        """Loss of the stage with labels, (), float32, and the student's logits (N, K).

        Shape:
            labels: (N,) int64.
        """

    def parameter_groups(self, network: TargetNetwork) -> list[tuple[list[nn.Module], float]]:
        """(modules, factor on the learning rate) pairs for the stage with labels."""
        return [([network, self], 1.0)]

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
