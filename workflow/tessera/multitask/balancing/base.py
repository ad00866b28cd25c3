"""What every balancing is."""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from tessera.multitask.balancing.options.base import BalancingOptions

if TYPE_CHECKING:
    from tessera.multitask.step import Step


class Memory(NamedTuple):
    """What a balancing remembers at a moment: its buffers, its extra state, and the weights noted of each task."""

    buffers: list[Tensor]
    extra: Any
    noted: dict[str, list[Tensor]]


class NoWeightError(Exception):
    """A task whose gradient, or what it is divided by, leaves its weight undefined.

    Args:
        place: Of the task in the step, from 0 on.
        why: What is wrong, after "the gradient of task `name`": a sentence's end.
    """

    def __init__(self, place: int, why: str) -> None:
        super().__init__(place, why)
        self.place, self.why = place, why


class Balancing(nn.Module):
    """How are losses or gradients weighed? A module, since some weights are learned or remembered.

    One that compares nothing overrides `scale`; one that compares gradients overrides `weights`, and its options say
    what it `compares`. How gradients are made is `multitask.gradients`' business.

    Args:
        options: What the study set.
        tasks: Names of the tasks, in the study's order.
    """

    def __init__(self, options: BalancingOptions, tasks: Sequence[str]) -> None:
        super().__init__()
        self.options = options
        self.tasks = tuple(tasks)
        self._noted = dict[str, list[Tensor]]()

    def scale(self, task: str, loss: Tensor, number: int) -> Tensor:
        """What is differentiated instead of a task's loss, (), float32.

        Args:
            loss: (), float32.
            number: Of the step's tasks.
        """
        return loss

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """The weight of each task's gradient, (K,) float64 on the CPU.

        Args:
            gramian: (K, K) float64 on the CPU: inner products of the tasks' gradients.
            losses: (K,) float64 on the CPU, of the step's batches.

        Raises:
            NoWeightError: If the weights are undefined.
        """
        raise NotImplementedError(f"{type(self).__name__} compares gradients, but does not weigh them.")

    def look_ahead(self, step: "Step", optimizer: torch.optim.Optimizer) -> bool:
        """Told of each step before its gradients are made, where the options say that it `looks_ahead`.

        Args:
            optimizer: The one that will take the step, its learning rates as they will be.

        Returns:
            Whether it has left the step's gradients in `.grad` already, since it needed them to look ahead.
        """
        return False

    def groups(self) -> list[tuple[list[nn.Module], float]]:
        """The module's parts, each with the factor on its learning rate; together they hold all its parameters."""
        return [([self], 1.0)]

    def end_epoch(self, losses: Mapping[str, float]) -> None:
        """Told each task's mean loss of the epoch, for methods that follow its course."""

    def memory(self) -> Memory:
        """What it remembers now: what steps change is kept in buffers, or in the extra state."""
        extra = copy.deepcopy(self.get_extra_state()) if self._has_extra_state else None
        noted = {task: list(of) for task, of in self._noted.items()}
        return Memory([buffer.clone() for buffer in self.buffers()], extra, noted)

    def recall(self, memory: Memory) -> None:
        """Remembers what it did then."""
        for buffer, value in zip(self.buffers(), memory.buffers, strict=True):
            buffer.copy_(value)
        if self._has_extra_state:
            self.set_extra_state(memory.extra)
        self._noted = {task: list(noted) for task, noted in memory.noted.items()}

    @property
    def _has_extra_state(self) -> bool:
        return type(self).get_extra_state is not nn.Module.get_extra_state

    def note(self, weights: Mapping[str, Tensor]) -> None:
        """Remembers weights of a step, for the epoch's figures; each (), nothing is read back here."""
        for task, weight in weights.items():
            self._noted.setdefault(task, []).append(weight.detach().clone())  # a buffer's element changes later

    def figures(self) -> dict[str, float]:
        """The mean of each weight since it was last asked for, as `weight.<task>`; nothing where none was noted."""
        if not self._noted:
            return {}
        means = torch.stack([torch.stack(noted).double().mean() for noted in self._noted.values()]).tolist()
        found = {f"weight.{task}": mean for task, mean in zip(self._noted, means, strict=True)}
        self._noted.clear()
        return {key: found[key] for key in (f"weight.{task}" for task in self.tasks) if key in found}
