"""Projecting conflicting gradients."""

from collections.abc import Sequence

from torch import Tensor
from torchjd.aggregation import PCGradWeighting

from tessera.multitask.balancing.drawn import Drawn
from tessera.multitask.balancing.options.gradients import PcgradOptions


class ProjectedGradients(Drawn):
    """Each g_i loses, in a drawn order of the others, its part along every g_j that it then goes against.

    Source: Yu et al., NeurIPS 2020, arXiv:2001.06782, Algorithm 1, by torchjd: projections are on the others' gradients
    as they were. A gradient of length 0 goes against none.

    Scale: the sum (`combine: mean`: the mean) of the projected gradients, so `equal`'s where no two conflict.
    """

    options: PcgradOptions

    def __init__(self, options: PcgradOptions, tasks: Sequence[str]) -> None:
        super().__init__(options, tasks)
        self._project = PCGradWeighting()

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        with self.drawing():
            weights: Tensor = self._project(gramian)
        return weights / len(losses) if self.options.combine == "mean" else weights
