"""What every regularizer is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from tessera.models.encoders.base import Encoder
from tessera.multitask.regularizers.options import RegularizerOptions
from tessera.tasks.base import TaskBatch

if TYPE_CHECKING:
    from tessera.multitask.step import Step


class Pass(NamedTuple):
    """One task's forward pass, as a regularizer may look at it.

    Attributes:
        task: The task's name.
        batch: What the task was shown.
        features: (M, C, h, w), what its head reads, any float dtype.
        loss: (), float32: the task's own, of the same graph.
        by_encoder: Gives the same features by another encoder.
        loss_by: Gives the task's loss, (), float32, of this batch by another head, from features; the head computes as
            precisely as its caller, the loss never in less than float32.
    """

    task: str
    batch: TaskBatch
    features: Tensor
    loss: Tensor
    by_encoder: Callable[[Encoder], Tensor]
    loss_by: Callable[[Callable[[Tensor], Any], Tensor], Tensor]


class Regularizer(nn.Module, ABC):
    """What keeps the features steady, or general? A module: its weights are trained with the rest, and never fused.

    Args:
        options: What the study set.
        num_features: Channels of the features.
        heads: Of each task, what builds a fresh head as the task's own is built, with other weights at each call; they
            depend on trial and task alone.
    """

    options: RegularizerOptions

    def __init__(
        self, options: RegularizerOptions, num_features: int, heads: Mapping[str, Callable[[], nn.Module]]
    ) -> None:
        super().__init__()
        self.options = options

    def begin_epoch(self, encoder: Encoder, epoch: int) -> None:
        """Told the weights with which an epoch begins; `epoch` counts from 0."""

    def look_ahead(self, step: "Step", optimizer: torch.optim.Optimizer) -> None:
        """Told of each step before its gradients are made.

        Args:
            optimizer: The one that will take the step, its learning rates as they will be.
        """

    def around(self, gradients: Callable[[], None], parameters: Sequence[nn.Parameter]) -> None:
        """Leaves a step's gradients in `.grad`: those that `gradients` leaves, or what is made of them.

        Args:
            gradients: Leaves them for the weights as they are, where none are yet; as often as one likes. What the step
                reports is of the first look, and the balancing counts it once.
            parameters: All that the step trains.
        """
        gradients()

    @abstractmethod
    def forward(self, seen: Pass) -> Tensor | None:
        """What is added to a task's loss, (), float32; None adds nothing and is not recorded.

        Where the options say `outside`, it is added after the balancing has weighed the losses.
        """

    def figures(self, seen: Pass) -> dict[str, Tensor]:
        """What to record of a pass beside the value, by name: each (), detached, the same names every time."""
        return {}
