"""Joint: every task in every step."""

from collections.abc import Sequence

import torch

from tessera.multitask.schedule.base import Schedule, Turn


class Joint(Schedule):
    """A step takes one batch of each task, so an epoch has a share of the iterations as steps."""

    def turns(self, tasks: Sequence[str], iterations: int, generator: torch.Generator) -> list[Turn]:
        return [Turn(steps=(tuple(tasks),) * self.share(len(tasks), iterations))]
