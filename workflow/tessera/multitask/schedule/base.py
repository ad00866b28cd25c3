"""What every schedule is: it cuts an epoch into turns, and says which tasks take each step."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from tessera.multitask.schedule.options import ScheduleOptions

EVERYTHING = "everything"  # name of the one optimiser of a schedule whose tasks share their momentum


@dataclass(frozen=True)
class Turn:
    """A stretch of an epoch that is trained in one go.

    Attributes:
        steps: The tasks of each step; the gradients of one step's tasks are put together.
        parallel: True: it starts from the epoch's first weights; False: from those that the turn before it left.
        optimizer: Name of the optimiser whose momentum it goes on with, through all epochs; None: a fresh one.
        shared: The tasks of a step see one batch of views together, instead of a batch each.
        begin, end: Which part of the epoch it is, 0 to 1, as the learning rate sees it.
    """

    steps: tuple[tuple[str, ...], ...]
    parallel: bool = False
    shared: bool = False
    optimizer: str | None = EVERYTHING
    begin: float = 0.0
    end: float = 1.0

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Its tasks, each once, in the order of their first steps."""
        return tuple(dict.fromkeys(task for step in self.steps for task in step))

    @property
    def batches(self) -> int:
        """How many batches of images it consumes."""
        return len(self.steps) if self.shared else sum(map(len, self.steps))

    def count(self, task: str) -> int:
        """How many batches of the task it consumes."""
        return sum(step.count(task) for step in self.steps)


class Schedule(ABC):
    """In which order do the tasks take steps?

    Args:
        options: What the study set.
    """

    def __init__(self, options: ScheduleOptions) -> None:
        self.options = options

    @abstractmethod
    def turns(self, tasks: Sequence[str], iterations: int, generator: torch.Generator) -> list[Turn]:
        """The turns of one epoch, in the order in which they are run.

        Args:
            tasks: Names, in the study's order; at least one.
            iterations: Batches of all tasks together, or of each task, as `iterations_scope` says.
            generator: Of this epoch.
        """

    def share(self, num_tasks: int, iterations: int) -> int:
        """Batches of each task in an epoch: the same for all, at least one.

        Iterations that do not divide by the number of tasks leave a remainder, which is dropped, so that no task
        gets more than another and all schedules train equally long.
        """
        if self.options.iterations_scope == "per_task":
            return iterations
        return max(1, iterations // num_tasks)


def in_order(tasks: Sequence[str], order: str, generator: torch.Generator) -> list[str]:
    """The tasks as given (`fixed`) or `shuffled`."""
    if order == "fixed":
        return list(tasks)
    return [tasks[index] for index in torch.randperm(len(tasks), generator=generator).tolist()]
