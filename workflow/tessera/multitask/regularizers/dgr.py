"""DGR: features with which heads that were never trained have small gradients."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from tessera.multitask.batch_norm import use_batch_statistics
from tessera.multitask.regularizers.base import Pass, Regularizer
from tessera.multitask.regularizers.options import DgrOptions
from tessera.multitask.task_network import head_key

SMALLEST = 1e-12  # under the root: where no ReLU of a dummy is open, its gradient is zero, and so is that of the norm


class DummyGradientNorm(Regularizer):
    r"""Weight times the mean over a task's dummies of the norm of their gradient, $\|\nabla_{\phi_m} L_k\|_F$.

    A dummy is a head as the task's own, random and never trained: it keeps the weights that the trial gives it, is
    saved with the training's state, and has no dropout; its batch norms use the batch's statistics.

    Source: Shin, Do & Son 2024, section 3, Eq. 5. The paper takes finite differences of the encoder's gradient. The
    heads alone differ, so here the norm is differentiated exactly, but only as far as the features: the encoder is
    passed back through once, with this derivative beside the loss's. The class permutation of Eq. 3 has no place in
    Eq. 5 and is left out. Dummies are computed in float32, under bfloat16 as well.

    A constant factor on the features lowers the norm, too, so their own norm is recorded as `feature_norm`: the mean
    over the batch.

    Shape:
        features: (M, C, h, w), any float dtype.
        returns: () float32, not negative.
    """

    options: DgrOptions

    def __init__(self, options: DgrOptions, num_features: int, heads: Mapping[str, Callable[[], nn.Module]]) -> None:
        super().__init__(options, num_features, heads)
        self.dummies = nn.ModuleDict(
            {head_key(task): nn.ModuleList(build() for _ in range(options.dummies)) for task, build in heads.items()}
        ).requires_grad_(False)
        use_batch_statistics(self.dummies)

    def train(self, mode: bool = True) -> "DummyGradientNorm":
        super().train(mode)
        use_batch_statistics(self.dummies)
        return self

    def forward(self, seen: Pass) -> Tensor:
        features = seen.features
        if self.options.weight == 0 or self.options.dummies == 0:
            return features.new_zeros((), dtype=torch.float32)  # recorded, so that every epoch has the same columns
        leaf = features.detach().to(torch.promote_types(features.dtype, torch.float32)).requires_grad_()
        with torch.enable_grad(), torch.autocast(leaf.device.type, enabled=False):
            norms = [self._norm(dummy, leaf, seen) for dummy in self.dummies[head_key(seen.task)].children()]
            value = self.options.weight * torch.stack(norms).mean()
            (derivative,) = torch.autograd.grad(value, leaf, materialize_grads=True)
        added: Tensor = _WithDerivative.apply(features, value.detach(), derivative.to(features.dtype))
        return added

    @torch.no_grad()
    def figures(self, seen: Pass) -> dict[str, Tensor]:
        return {"feature_norm": seen.features.float().flatten(1).norm(dim=1).mean()}

    def _norm(self, dummy: nn.Module, features: Tensor, seen: Pass) -> Tensor:
        weights = {name: weight.detach().requires_grad_() for name, weight in dummy.named_parameters()}
        loss = seen.loss_by(lambda inputs: functional_call(dummy, weights, (inputs,)), features)
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True, materialize_grads=True)
        squares = [gradient.square().sum() for gradient in gradients]
        return (torch.stack(squares).sum() + SMALLEST).sqrt()


class _WithDerivative(torch.autograd.Function):
    """A value whose derivative with respect to the features is known."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, value: Tensor, derivative: Tensor) -> Tensor:
        ctx.save_for_backward(derivative)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (derivative,) = ctx.saved_tensors
        return gradient.to(derivative.dtype) * derivative, None, None
