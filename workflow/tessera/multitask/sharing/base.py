"""What every way of sharing is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from tessera.models.encoders.base import Encoder
from tessera.registry import Options


class Sharing(nn.Module, ABC):
    """How do the tasks share the encoder? A module, since some ways have trained weights; those are never fused.

    Args:
        options: What the study set.
        encoder: The encoder, to read its layers; not kept.
        tasks: Names of the tasks, in the study's order.
        build_encoder: Builds another encoder of the kind, with fresh weights at each call; they depend on the trial
            alone.

    Attributes:
        calls_encoder: Whether `maps` does nothing with the encoder but call it, so that a compiled one can take its
            place; what is asked for inner maps or stages runs as it is written.
    """

    calls_encoder: ClassVar[bool] = False

    def __init__(
        self, options: Options, encoder: Encoder, tasks: Sequence[str], build_encoder: Callable[[], Encoder]
    ) -> None:
        super().__init__()
        self.options, self.tasks = options, tuple(tasks)

    def maps(self, encoder: Encoder, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        """One pass: all that the heads of these tasks need, by name; here the encoder's last map.

        Args:
            encoder: The encoder, or an earlier copy of it.

        Shape:
            inputs: (M, 3, h, w), normalised.
        """
        return {list(encoder.layer_channels)[-1]: encoder(inputs)}

    @abstractmethod
    def features(self, task: str, maps: Mapping[str, Tensor]) -> Tensor:
        """The features that the task's head reads, from what `maps` gave: (M, encoder.num_features, h', w')."""

    def penalty(self, task: str) -> Tensor | None:
        """What is added to the loss of a step of the task, (), float32, and to no reported loss; None adds nothing."""
        return None

    def shared_parameters(self) -> list[nn.Parameter]:
        """Those of this module that several tasks train: balancing weighs their gradients as it does the encoder's."""
        return []

    def last_layers(self, encoder: Encoder) -> list[nn.Module]:
        """Whose gradients a balancing compares that looks at the last shared layer alone; here the encoder's."""
        return [encoder.last_layer]

    def export(self, encoder: Encoder) -> None:
        """Brings the encoder into the state that is handed on, when the training has ended; here it is in it."""

    def groups(self) -> list[tuple[list[nn.Module], float]]:
        """The module's parts, each with the factor on its learning rate; together they hold all its parameters."""
        return [([self], 1.0)]

    def figures(self) -> dict[str, float]:
        """What to record at the end of each epoch, by column name; the same names every time."""
        return {}
