"""Random weighting."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tessera.multitask.balancing.drawn import Drawn
from tessera.multitask.balancing.options.losses import RandomOptions


class RandomWeights(Drawn):
    """Weights are the softmax of normal numbers, drawn anew in each step: what a weighing has to beat.

    Source: Lin et al., TMLR 2022, arXiv:2111.10603, "RLW". With one task a step its weight is 1.

    Scale: a convex combination of the losses, about a K-th of `equal`'s sum.
    """

    options: RandomOptions

    def __init__(self, options: RandomOptions, tasks: Sequence[str]) -> None:
        super().__init__(options, tasks)
        self._left: list[float] = []  # of the step whose losses are being scaled

    def scale(self, task: str, loss: Tensor, number: int) -> Tensor:
        if not self._left:
            with self.drawing():
                self._left = torch.randn(number, dtype=torch.float64).softmax(dim=0).tolist()
        weight = self._left.pop()
        self.note({task: torch.tensor(weight)})
        return weight * loss
