"""Joint: every task in every step."""

from collections.abc import Sequence

import torch

from tessera.multitask.schedule.base import Schedule, Turn
from tessera.multitask.schedule.options import JointOptions


class Joint(Schedule):
    """A step takes a batch of each task, an epoch has a share of the iterations as steps; or one for all (`inputs`)."""

    options: JointOptions

    def turns(self, tasks: Sequence[str], iterations: int, generator: torch.Generator) -> list[Turn]:
        if self.options.shared_input:
            return [Turn(steps=(tuple(tasks),) * iterations, shared=True)]
        return [Turn(steps=(tuple(tasks),) * self.share(len(tasks), iterations))]
