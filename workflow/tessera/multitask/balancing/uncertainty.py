"""Uncertainty weighting: each task's loss is weighed by a noise that is learned with the network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchjd.scalarization import UW

from tessera.multitask.balancing.base import Balancing
from tessera.multitask.balancing.options.losses import UncertaintyOptions


class Uncertainty(Balancing):
    """`L_k exp(-s_k) / 2 + s_k / 2`, s_k = log sigma_k^2 learned; at its optimum the weight is 1 / (2 L_k).

    Source: Kendall, Gal & Cipolla, CVPR 2018, arXiv:1705.07115, Eq. 7, in the form for regression that published code
    takes for every task; by torchjd's `UW`, one a task, so that one task's graph is alive at a time. The paper leaves
    the first s open (`start`).
    """

    options: UncertaintyOptions

    def __init__(self, options: UncertaintyOptions, tasks: Sequence[str]) -> None:
        super().__init__(options, tasks)
        self.noises = nn.ModuleList(UW(()) for _ in self.tasks)
        with torch.no_grad():
            for parameter in self.noises.parameters():
                parameter.fill_(options.start)

    def scale(self, task: str, loss: Tensor, number: int) -> Tensor:
        noise = self.noises[self.tasks.index(task)]
        assert isinstance(noise, UW)
        self.note({task: 0.5 * (-noise.log_var.detach()).exp()})
        scaled: Tensor = noise(loss)
        return scaled

    def groups(self) -> list[tuple[list[nn.Module], float]]:
        return [([self], self.options.lr_factor)]
