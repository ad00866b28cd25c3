"""Sequential: a task goes on where the one before it ended."""

from collections.abc import Sequence

import torch

from tessera.multitask.schedule.base import EVERYTHING, Schedule, Turn, in_order
from tessera.multitask.schedule.options import SequentialOptions


class Sequential(Schedule):
    """One turn a task, one after the other on the same weights; the learning rate moves on from turn to turn.

    Source: Kim, Lee & Song 2019, section 3.3, read as an asynchronous sequence. Momentum that is kept
    (`reset_optimizer: false`) is that of all tasks.
    """

    options: SequentialOptions

    def turns(self, tasks: Sequence[str], iterations: int, generator: torch.Generator) -> list[Turn]:
        steps, count = self.share(len(tasks), iterations), len(tasks)
        optimizer = None if self.options.reset_optimizer else EVERYTHING
        return [
            Turn(steps=((task,),) * steps, optimizer=optimizer, begin=place / count, end=(place + 1) / count)
            for place, task in enumerate(in_order(tasks, self.options.order, generator))
        ]
