"""Batch normalisation whose gradient is differentiated again at the price of a few passes over its maps.

What autograd makes of it takes some thirty sums and as many products of whole maps, a third of a step that matches
gradients. The algebra is done by hand here; values are those of PyTorch's own layer.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.overrides import TorchFunctionMode


class FastTwice(TorchFunctionMode):
    """Within it, `F.batch_norm` with the batch's own statistics is the one of this page; all else is as it was."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is F.batch_norm:
            return _batch_norm(*args, **kwargs or {})
        return function(*args, **kwargs or {})


def _batch_norm(
    images: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return F.batch_norm(images, running_mean, running_var, weight, bias, training, momentum, eps)
    found: Tensor = _Forward.apply(images, weight, bias, running_mean, running_var, momentum, eps)
    return found


class _Forward(Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: float,
        eps: float,
    ) -> Tensor:
        found, mean, rate = torch.native_batch_norm(
            images, weight, bias, running_mean, running_var, True, momentum, eps
        )
        ctx.save_for_backward(images, weight, mean, rate)
        ctx.eps = eps
        return found

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        gradients = _Backward.apply(upstream, *ctx.saved_tensors, ctx.eps)
        return *gradients, None, None, None, None


class _Backward(Function):
    """With x' the normalised x, r its rate, w the weight, M the entries of a channel, bars their means:

    `dx = w r (g - g_ - x' (g x')_)`, `dw = sum g x'`, `db = sum g`.
    """

    @staticmethod
    def forward(
        ctx: Any, upstream: Tensor, images: Tensor, weight: Tensor | None, mean: Tensor, rate: Tensor, eps: float
    ) -> Any:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(upstream, images, weight, mean, rate)
        wanted = [True, weight is not None, weight is not None]
        return torch.ops.aten.native_batch_norm_backward(
            upstream, images, weight, None, None, mean, rate, True, eps, wanted
        )

    @staticmethod
    def backward(ctx: Any, by_images: Tensor | None, by_weight: Tensor | None, by_bias: Tensor | None) -> Any:
        """The gradient of `<v, dx> + <a, dw> + <b, db>` by g, x and w."""
        upstream, images, weight, mean, rate = ctx.saved_tensors
        exact = torch.float64 if images.dtype == torch.float64 else torch.float32
        over = [0, *range(2, images.ndim)]
        entries: int = images.numel() // images.shape[1]

        def wide(channels: Tensor) -> Tensor:
            return channels.view(-1, *[1] * (images.ndim - 2))

        def average(maps: Tensor) -> Tensor:
            return maps.sum(dim=over) / entries

        g, x = upstream.to(exact), (images.to(exact) - wide(mean)) * wide(rate)
        g_mean, g_x = average(g), average(g * x)
        to_g, to_x = torch.zeros_like(g), torch.zeros_like(x)
        to_weight = None
        if by_images is not None:
            v = by_images.to(exact)
            scale = rate if weight is None else weight * rate
            v_mean, v_x = average(v), average(v * x)
            both = average(v * g) - v_mean * g_mean - v_x * g_x
            to_g = (v - wide(v_mean) - x * wide(v_x)) * wide(scale)
            outer = -scale * rate
            to_x = (
                v * wide(outer * g_x) + g * wide(outer * v_x) + x * wide(outer * (both - 2 * v_x * g_x))
                - wide(outer * (g_x * v_mean + v_x * g_mean))
            )  # fmt: skip
            to_weight = None if weight is None else rate * entries * both
        if by_weight is not None:
            to_g = to_g + x * wide(by_weight)
            to_x = to_x + (g - wide(g_mean) - x * wide(g_x)) * wide(by_weight * rate)
        if by_bias is not None:
            to_g = to_g + wide(by_bias)
        return to_g.to(upstream.dtype), to_x.to(images.dtype), to_weight, None, None, None
