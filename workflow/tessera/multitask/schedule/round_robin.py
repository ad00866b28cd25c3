"""Round robin: one task a step, in turn."""

from collections.abc import Sequence

import torch

from tessera.multitask.schedule.base import Schedule, Turn, in_order
from tessera.multitask.schedule.options import RoundRobinOptions


class RoundRobin(Schedule):
    """The tasks take single steps in the study's order, or in random order; their momentum is one.

    Source: Doersch & Zisserman 2017, as mapped in docs/methods.md, section 3. The random order is a shuffle of the
    epoch's steps, not a draw for each: every task takes its share to the batch.
    """

    options: RoundRobinOptions

    def turns(self, tasks: Sequence[str], iterations: int, generator: torch.Generator) -> list[Turn]:
        steps = list(tasks) * self.share(len(tasks), iterations)
        order = "shuffled" if self.options.order == "random" else "fixed"
        return [Turn(steps=tuple((task,) for task in in_order(steps, order, generator)))]
