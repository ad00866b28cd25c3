"""The soft normalised cut of an image into segments, by offsets between pixels."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tessera.data.constants import constant

Offset = tuple[int, int]
EMPTY = 1e-12  # pixels; a segment with less is empty


def half_offsets(radius: float) -> list[Offset]:
    """One of each pair of opposite offsets (dy, dx) shorter than the radius; the centre is left out.

    With radius 5 these are 34, which stand for 34 * 2 + 1 = 69 offsets.
    """
    reach = math.ceil(radius) - 1
    return [
        (down, right)
        for down in range(reach + 1)
        for right in range(-reach, reach + 1)
        if (down > 0 or right > 0) and down**2 + right**2 < radius**2
    ]


def pair_weights(intensity: Tensor, offsets: list[Offset], sigma_intensity: float, sigma_position: float) -> Tensor:
    """How alike two pixels are: exp(-(difference / sigma_intensity)^2) exp(-(distance / sigma_position)^2).

    Args:
        intensity: Of each pixel, in the unit of sigma_intensity.

    Shape:
        intensity: (N, h, w).
        returns: (N, offsets, h, w), the weight between a pixel and the one at the offset; 0 beyond the image's edge.
    """
    number, height, width = intensity.shape
    # Pairs that leave the image differ infinitely, so that their weight is 2^-inf = 0.
    differences = intensity.new_full((number, len(offsets), height, width), math.inf)
    for index, offset in enumerate(offsets):
        here, there = _windows(offset, height, width)
        differences[:, index][here] = intensity[here] - intensity[there]
    # exp2 takes a tenth of the time of exp, whose underflow is slow, and most unlike pairs underflow.
    scale = 1 / math.log(2)
    distances = [scale * (down**2 + right**2) / sigma_position**2 for down, right in offsets]
    squares = differences.mul_(math.sqrt(scale) / sigma_intensity).square_()
    return squares.add_(constant(distances, intensity.device, intensity.dtype).view(1, -1, 1, 1)).neg_().exp2_()


def neighborhood_sum(maps: Tensor, weights: Tensor, offsets: list[Offset]) -> Tensor:
    """Sum over v of w(u, v) x(v) for each pixel u: its own value, and both pixels of each pair of offsets.

    Shape:
        maps: (N, K, h, w).
        weights: (N, offsets, h, w), as `pair_weights` gives.
        returns: (N, K, h, w).
    """
    total = maps.clone()  # a pixel is at no distance from itself: weight 1
    for index, offset in enumerate(offsets):
        here, there = _windows(offset, *maps.shape[-2:])
        weight = weights[:, index, None][here]
        total[here].addcmul_(weight, maps[there])
        total[there].addcmul_(weight, maps[here])
    return total


def soft_normalized_cut(shares: Tensor, weights: Tensor, degrees: Tensor, offsets: list[Offset]) -> Tensor:
    """K - sum_k assoc(k, k) / assoc(k, all), for each image.

    Source: Xia & Kulis 2017, Eq. 3, arXiv:1711.08506. Its cost is the number of offsets times K h w; the matrix of
    all pairs of pixels is never made.

    Shape:
        shares: (N, K, h, w) float32, a distribution over K at each pixel.
        weights: (N, offsets, h, w), as `pair_weights` gives.
        degrees: (N, 1, h, w), `neighborhood_sum` of ones.
        returns: (N,), between 0 and K; K - 1 where all shares are equal, or one segment has everything.
    """
    within: Tensor = _Association.apply(shares, weights, offsets)
    overall = (shares * degrees).sum(dim=(2, 3))
    # A segment without any pixel has 0 / 0: it counts as cut off, and its gradient stays finite.
    return shares.shape[1] - (within / overall.clamp_min(EMPTY)).sum(dim=1)


class _Association(torch.autograd.Function):
    """x' W x for each image and segment. W is symmetric, so its gradient 2 W x is a by-product of the value.

    Plain autograd would keep two maps for each offset, and go over all of them twice.
    """

    @staticmethod
    def forward(ctx: Any, shares: Tensor, weights: Tensor, offsets: list[Offset]) -> Tensor:
        summed = neighborhood_sum(shares, weights, offsets)
        ctx.save_for_backward(summed)
        return (shares * summed).sum(dim=(2, 3))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (summed,) = ctx.saved_tensors
        return 2 * gradient[:, :, None, None] * summed, None, None


def _windows(offset: Offset, height: int, width: int) -> tuple[Any, Any]:
    """Where pixels have a partner at the offset, and where these partners are."""
    down, right = offset
    rows, columns = max(0, height - down), max(0, width - abs(right))
    left, shifted = max(0, -right), max(0, right)
    here = (..., slice(0, rows), slice(left, left + columns))
    there = (..., slice(down, down + rows), slice(shifted, shifted + columns))
    return here, there
