"""GradNorm: weights by which every task's gradient gets the length that its pace asks for."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from tessera.multitask.balancing.base import Balancing
from tessera.multitask.balancing.options.lookahead import GradnormOptions

LEAST = 1e-3  # of a weight: a negative one would make the loss grow


class GradNorm(Balancing):
    """`lambda <- lambda - rate d/dlambda sum_k |G_k - G r_k^alpha|`, G_k = lambda_k |g_k|; then K over their sum.

    g_k is the gradient of loss k at the encoder's last layer, G the mean of the G_k and no function of lambda, r_k the
    loss over its mean in the first epoch, over the mean of these ratios. lambda is one in the first epoch. It weighs
    the whole loss, the head's part of it too. Its sum is K: steps are about as long as those of `equal`.

    Source: Chen, Badrinarayanan, Lee & Rabinovich, ICML 2018, arXiv:1711.02257, Algorithm 1, learning rate and alpha
    its own. Its first L_k(0) is the first batch's loss; the epoch's mean is that of published code, and less noisy. The
    norms are linear in lambda, so the gradient is `sign(G_k - G r_k^alpha) |g_k|`, and nothing is differentiated twice.
    A weight is kept at a thousandth at least. A loss that is not positive, now or in the mean, has no pace: r_k is one.
    """

    options: GradnormOptions
    lambdas: Tensor
    losses: Tensor
    epochs: Tensor

    def __init__(self, options: GradnormOptions, tasks: Sequence[str]) -> None:
        super().__init__(options, tasks)
        self.register_buffer("lambdas", torch.ones(len(self.tasks), dtype=torch.float64))
        # Sum and number of each task's losses in the first epoch.
        self.register_buffer("losses", torch.zeros((2, len(self.tasks)), dtype=torch.float64))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))
        self._scaled: list[int] = []  # tasks of the step at work, as `scale` met them
        self._used = self.lambdas.clone()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "GradNorm":
        """Goes to no device: what it remembers stays where gradients are weighed, so that no step waits for it."""
        return self

    def scale(self, task: str, loss: Tensor, number: int) -> Tensor:
        index = self.tasks.index(task)
        self._scaled = [*self._scaled, index][-len(self.tasks) :]
        return self.lambdas[index].to(loss.dtype, copy=True) * loss  # which `weights` moves before the last pass back

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        which = self._scaled[-len(losses) :]
        self._used = self.lambdas.clone()
        if self.epochs == 0:
            self.losses[:, which] += torch.stack([losses, torch.ones_like(losses)])
        else:
            before, (totals, numbers) = self._used[which], self.losses[:, which]
            after = before - self.options.learning_rate * self._gradient(before, gramian, losses, totals / numbers)
            for _ in range(2):  # the second time only where a weight was too small
                after = after.clamp_min(LEAST)
                after = after * (before.sum() / after.sum())
            self.lambdas[which] = after
        return torch.ones_like(losses)  # `scale` has weighed the gradients already

    def note(self, weights: Mapping[str, Tensor]) -> None:
        super().note({task: self._used[self.tasks.index(task)] * weight for task, weight in weights.items()})

    def end_epoch(self, losses: Mapping[str, float]) -> None:
        self.epochs += 1

    def _gradient(self, lambdas: Tensor, gramian: Tensor, losses: Tensor, first: Tensor) -> Tensor:
        """Of the paper's loss, by lambda, (K,) float64.

        Args:
            gramian: Of the gradients of lambda_k L_k.
            first: (K,) float64: L_k(0).
        """
        lengths = gramian.diagonal().clamp_min(0).sqrt()
        paces = torch.where((losses > 0) & (first > 0), losses / first, 1.0)
        targets = lengths.mean() * (paces / paces.mean()) ** self.options.alpha
        return (lengths - targets).sign() * lengths / lambdas
