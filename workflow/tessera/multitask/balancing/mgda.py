"""Multiple-gradient descent: the shortest convex combination of the tasks' gradients."""

import torch
from torch import Tensor

from tessera.multitask.balancing.base import Balancing, NoWeightError
from tessera.multitask.balancing.gramian import points_of, shortest
from tessera.multitask.balancing.options.gradients import MgdaOptions


class MultipleGradientDescent(Balancing):
    """`min |sum_k w_k g_k|` over w >= 0 with sum 1; a step against it makes no task worse, until none can improve.

    Source: Sener & Koltun, NeurIPS 2018, arXiv:1810.04650, Eq. 3; with `of: features` it is MGDA-UB, Eq. 5. Solved
    exactly, where the paper and torchjd iterate (Frank-Wolfe). `normalize` is of the authors' code, not of the paper:
    normalised gradients are compared, and the weights are then those of the gradients as they are. The shortest
    gradient gets most of the weight, and one of length 0 all of it.

    Scale: a convex combination, so at most a K-th of what `equal` adds up, and short where tasks conflict.
    """

    options: MgdaOptions

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        lengths = gramian.diagonal().sqrt()
        by = {"none": torch.ones_like(lengths), "l2": lengths, "loss": losses, "loss+": losses * lengths}
        divisors = by[self.options.normalize]
        if not (divisors > 0).all():
            what = f"cannot be divided by {float(divisors.min()):g}, as `normalize: {self.options.normalize}` does."
            raise NoWeightError(int(divisors.argmin()), what)
        return torch.from_numpy(shortest(points_of(gramian / torch.outer(divisors, divisors))))
