"""What every regularizer is."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from tessera.models.encoders.base import Encoder
from tessera.registry import Options


class Regularizer(nn.Module, ABC):
    """What keeps the features steady? A module: its weights are trained with the rest, and never fused.

    Args:
        options: What the study set.
        num_features: Channels of the features.
    """

    def __init__(self, options: Options, num_features: int) -> None:
        super().__init__()
        self.options = options

    def begin_epoch(self, encoder: Encoder, epoch: int) -> None:
        """Told the weights with which an epoch begins; `epoch` counts from 0."""

    @abstractmethod
    def forward(self, features: Tensor, recompute: Callable[[Encoder], Tensor]) -> Tensor | None:
        """What is added to a task's loss, (), float32; None adds nothing and is not recorded.

        Args:
            features: (M, C, h, w), what the task's head reads, any float dtype.
            recompute: Gives the same features by another encoder.
        """
