"""Round robin: one task a step, in turn."""

from collections.abc import Sequence

import torch

from tessera.multitask.schedule.base import Schedule, Turn


class RoundRobin(Schedule):
    """The tasks take single steps in the study's order; their momentum is one.

    Source: Doersch & Zisserman 2017, as mapped in docs/methods.md, section 3.
    """

    def turns(self, tasks: Sequence[str], iterations: int, generator: torch.Generator) -> list[Turn]:
        return [Turn(steps=tuple((task,) for task in tasks) * self.share(len(tasks), iterations))]
