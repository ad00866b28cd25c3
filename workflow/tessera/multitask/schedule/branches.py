"""Branches: every task starts the epoch from the same weights."""

from collections.abc import Sequence

import torch

from tessera.multitask.schedule.base import Schedule, Turn, in_order
from tessera.multitask.schedule.options import BranchesOptions


class Branches(Schedule):
    """One turn a task, each from the weights that the fusion left; all see the epoch's whole learning-rate course.

    Source: Kim, Lee & Song 2019, section 3.3 and Fig. 3, read as parallel branches. Momentum that is kept
    (`reset_optimizer: false`) stays within its branch.
    """

    options: BranchesOptions

    def turns(self, tasks: Sequence[str], iterations: int, generator: torch.Generator) -> list[Turn]:
        steps = self.share(len(tasks), iterations)
        return [
            Turn(steps=((task,),) * steps, parallel=True, optimizer=None if self.options.reset_optimizer else task)
            for task in in_order(tasks, self.options.order, generator)
        ]
