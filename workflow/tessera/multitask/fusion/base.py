"""What every fusion is: it merges an epoch's branches, and keeps a window of the merged encoders."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tessera.models.encoders.base import Encoder
from tessera.multitask.fusion.options import FusionOptions
from tessera.multitask.fusion.states import State, layer_parameters, mean_state


@dataclass(frozen=True)
class Branch:
    """Weights of the encoder around one turn.

    Attributes:
        tasks: The tasks that the turn trained.
        start, end: Weights before and after it.
        parallel: Whether it started from the epoch's first weights, beside the others, not after them.
    """

    tasks: tuple[str, ...]
    start: State
    end: State
    parallel: bool


@dataclass(frozen=True)
class Epoch:
    """What a fusion may know of an epoch.

    Attributes:
        previous: Weights with which it began.
        branches: Its turns, in their order.
        losses: Mean training loss of every task, in the study's order, without the regularizer.
        impacts: For each task with a branch of its own, the mean absolute change of the measured layers (mu, Eq. 7).
        encoder: Read for the names of its layers.
    """

    previous: State
    branches: Sequence[Branch]
    losses: Mapping[str, float]
    impacts: Mapping[str, float]
    encoder: Encoder


@dataclass(frozen=True)
class Fused:
    """What a fusion makes of an epoch.

    Attributes:
        state: Weights of the fused encoder.
        impacts: Of each task with a branch of its own, as of `Epoch`.
        figures: What else to record, by column name.
    """

    state: State
    impacts: dict[str, float]
    figures: dict[str, float]


class Fusion(ABC):
    """How do the tasks' weights become one encoder?

    Args:
        options: What the study set.

    Attributes:
        layers: Layers whose change is measured, as of `layer_parameters`.
        window: How many last fused encoders the exported one is the mean of (paper, Eq. 10).
        feedback: True: an epoch starts from that mean, not from the last fused encoder.
    """

    layers: str = "conv_before_pool"
    window: int = 1
    feedback: bool = False

    def __init__(self, options: FusionOptions) -> None:
        self.options = options
        self._window: list[State] = []  # on the CPU: it is used once an epoch at most

    def fuse(self, previous: State, branches: Sequence[Branch], losses: Mapping[str, float], encoder: Encoder) -> Fused:
        """Merges the branches of one epoch, in their order, and keeps the result in the window.

        Args:
            previous: Weights with which the epoch began.
            losses: Mean training loss of every task in this epoch, in the study's order, without the regularizer.
            encoder: Read for the names of its layers.

        Raises:
            ValueError: If the branches are not such as the fusion needs.
            DivergedError: If the fused weights are not finite.
        """
        names = layer_parameters(encoder, self.layers)
        impacts = {
            branch.tasks[0]: self._impact(self.origin(previous, branch), branch.end, names)
            for branch in branches
            if len(branch.tasks) == 1
        }
        state, figures = self.merge(Epoch(previous, branches, losses, impacts, encoder))
        self._window = [*self._window, {name: tensor.cpu() for name, tensor in state.items()}][-self.window :]
        return Fused(state, impacts, figures)

    @abstractmethod
    def merge(self, epoch: Epoch) -> tuple[State, dict[str, float]]:
        """The fused weights, and figures to record."""

    def origin(self, previous: State, branch: Branch) -> State:
        """The weights from which a branch's change is measured."""
        return branch.start

    def export(self) -> State:
        """The encoder that is handed on: the mean of the window, as far as there is one."""
        return mean_state(self._window)

    def next_start(self) -> State:
        """The weights with which the next epoch starts."""
        return self.export() if self.feedback else self._window[-1]

    def state_dict(self) -> dict[str, Any]:
        """What must be kept to go on after an interruption: tensors, numbers, lists and dicts of them."""
        return {"window": self._window}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from such a state."""
        self._window = state["window"]

    @staticmethod
    def _impact(start: State, end: State, names: Sequence[str]) -> float:
        if not names:
            return 0.0
        total = torch.stack([(end[name] - start[name]).abs().sum() for name in names]).sum()
        return float(total) / sum(end[name].numel() for name in names)
