"""Colours as bins of the ab plane: conversion to Lab, soft codes by table, class weights, decoding."""

from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from tessera.data.constants import constant

Bins = Literal["official313", "gamut_nn"]

STEP = 10  # Lab units between neighbouring bins
# a: (lowest b, highest b). Row by row these are the points of the released file pts_in_hull.npy.
OFFICIAL = {
    -90: (50, 90), -80: (20, 90), -70: (0, 90), -60: (-20, 90), -50: (-30, 100), -40: (-40, 100), -30: (-50, 100),
    -20: (-50, 100), -10: (-60, 100), 0: (-70, 100), 10: (-80, 90), 20: (-80, 90), 30: (-90, 90), 40: (-100, 90),
    50: (-100, 80), 60: (-110, 80), 70: (-110, 80), 80: (-110, 70), 90: (-110, 70), 100: (-90, 0),
}  # fmt: skip
# The bins that are nearest to some of the 2^24 colours of 8-bit sRGB.
GAMUT = {
    -90: (80, 80), -80: (40, 80), -70: (20, 90), -60: (0, 90), -50: (-20, 90), -40: (-30, 90), -30: (-40, 90),
    -20: (-40, 90), -10: (-50, 90), 0: (-60, 90), 10: (-70, 80), 20: (-70, 80), 30: (-80, 80), 40: (-90, 80),
    50: (-90, 70), 60: (-100, 70), 70: (-110, 70), 80: (-110, 70), 90: (-90, 0), 100: (-70, -50),
}  # fmt: skip
ROWS: dict[Bins, dict[int, tuple[int, int]]] = {"official313": OFFICIAL, "gamut_nn": GAMUT}

WHITE = (0.95047, 1.0, 1.08883)  # D65, 2 degrees
XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
FROM_XYZ = torch.tensor(XYZ, dtype=torch.float64).inverse().tolist()
BITS = 6  # a channel of the table: 2^18 colours, each within two levels of those it stands for
TEMPERATURE = 0.38


def bin_centers(bins: Bins) -> Tensor:
    """Centres of the bins, a ascending, then b: (Q, 2) float32, Q 313 or 261.

    >>> bin_centers("official313").shape
    torch.Size([313, 2])
    """
    points = [(a, b) for a, (low, high) in ROWS[bins].items() for b in range(low, high + 1, STEP)]
    return torch.tensor(points, dtype=torch.float32)


def linear_from_srgb(values: Tensor) -> Tensor:
    """Removes the gamma of sRGB (IEC 61966-2-1): any shape, 0 to 1."""
    return torch.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab_from_rgb(colors: Tensor) -> Tensor:
    """CIE Lab under D65.

    Shape:
        colors: (…, 3) float, sRGB, 0 to 1.
        returns: (…, 3): L 0 to 100, a -86 to 98, b -108 to 94.
    """
    xyz = linear_from_srgb(colors) @ constant(XYZ, colors.device, colors.dtype).T
    x, y, z = _lab_curve(xyz / constant(WHITE, colors.device, colors.dtype)).unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-1)


def srgb_from_linear(values: Tensor) -> Tensor:
    """The inverse of `linear_from_srgb`: any shape, at least 0."""
    return torch.where(values <= 0.0031308, values * 12.92, 1.055 * values.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)


def rgb_from_lab(colors: Tensor) -> Tensor:
    """The inverse of `lab_from_rgb`; colours that no screen shows are clipped. (…, 3) to (…, 3), sRGB, 0 to 1."""
    lightness, a, b = colors.unbind(-1)
    middle = (lightness + 16) / 116
    curve = torch.stack([middle + a / 500, middle, middle - b / 200], dim=-1)
    edge = 6 / 29
    ratio = torch.where(curve > edge, curve**3, 3 * edge**2 * (curve - 4 / 29))
    xyz = ratio * constant(WHITE, colors.device, colors.dtype)
    linear = xyz @ constant(FROM_XYZ, colors.device, colors.dtype).T
    return srgb_from_linear(linear.clamp_min(0)).clamp_max(1)


def lightness(images: Tensor) -> Tensor:
    """L of Lab: (N, 3, H, W) uint8 to (N, 1, H, W) float32, 0 to 100."""
    # There are 256 levels and many more pixels: the gamma, the dear part, is looked up.
    linear = linear_from_srgb(torch.arange(256, device=images.device) / 255)
    red, green, blue = linear.index_select(0, images.flatten().int()).view(images.shape).unbind(1)
    luminance = XYZ[1][0] * red + XYZ[1][1] * green + XYZ[1][2] * blue
    return 116 * _lab_curve(luminance)[:, None] - 16


def _lab_curve(ratio: Tensor) -> Tensor:
    edge = 6 / 29
    return torch.where(ratio > edge**3, ratio.clamp_min(edge**3) ** (1 / 3), ratio / (3 * edge**2) + 4 / 29)


def soft_code(colors: Tensor, centers: Tensor, neighbors: int, sigma: float) -> tuple[Tensor, Tensor]:
    """Spreads colours over their nearest bins, with weights proportional to exp(-d^2 / (2 sigma^2)).

    Source: Zhang, Isola & Efros, ECCV 2016, section 2.2, arXiv:1603.08511: 5 neighbours; their code has 10.

    Args:
        neighbors: Bins a colour, the nearest first.
        sigma: Lab units.

    Shape:
        colors: (M, 2), ab.
        centers: (Q, 2), ab.
        returns: bins (M, neighbors) int64, and weights (M, neighbors) that sum to 1.
    """
    # Without matrix products, whose rounding would decide between equally near bins.
    distances = torch.cdist(colors, centers, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.topk(neighbors, largest=False, sorted=True)
    return nearest.indices, (-(nearest.values**2) / (2 * sigma**2)).softmax(dim=1)


class ColorTable(NamedTuple):
    """What each colour of BITS bits a channel means; a step looks it up, and computes no distance.

    Shape:
        ab: (2^18, 2) float32.
        bins: (2^18, neighbors) int16, the nearest first.
        weights: (2^18, neighbors) float32, rows sum to 1.
    """

    ab: Tensor
    bins: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> "ColorTable":
        return ColorTable(*(tensor.to(device) for tensor in self))


@lru_cache(maxsize=4)
def color_table(bins: Bins, neighbors: int, sigma: float) -> ColorTable:
    """Builds the table on the CPU; the colour in the middle of each entry stands for all of them."""
    levels = (torch.arange(2**BITS) * 2 ** (8 - BITS) + (2 ** (8 - BITS) - 1) / 2) / 255
    ab = lab_from_rgb(torch.cartesian_prod(levels, levels, levels))[:, 1:].contiguous()
    centers = bin_centers(bins)
    codes = [
        soft_code(part, centers, neighbors, sigma) for part in torch.split(ab, 2**13)
    ]  # 10 MB of distances at a time
    return ColorTable(ab, torch.cat([i for i, _ in codes]).short(), torch.cat([w for _, w in codes]))


def look_up(column: Tensor, entries: Tensor) -> Tensor:
    """Rows of one of the table's columns, as channels: (2^18, C) and (N, h, w) int64 to (N, C, h, w)."""
    rows = column.index_select(0, entries.flatten())
    return rows.view(*entries.shape, -1).permute(0, 3, 1, 2)


def table_entry(pixels: Tensor) -> Tensor:
    """Where a colour stands in the table: (N, 3, …) uint8 to (N, …) int64."""
    red, green, blue = (pixels.long() >> (8 - BITS)).unbind(1)
    return (red << 2 * BITS) | (green << BITS) | blue


def sample_points(images: Tensor, grid: int) -> Tensor:
    """The pixel in the middle of each cell of the grid, not a mean: (N, 3, H, H) to (N, 3, grid, grid)."""
    points = (torch.arange(grid, device=images.device) * 2 + 1) * images.shape[-1] // (2 * grid)
    return images[:, :, points[:, None], points]


def smooth_prior(counts: Tensor, centers: Tensor, sigma: float) -> Tensor:
    """Shares of the bins, smoothed by a Gaussian that ends at three sigma; bins beyond it keep 0.

    Shape:
        counts: (Q,) pixels of each bin, at least one of them above 0.
        centers: (Q, 2).
        returns: (Q,) float32, sums to 1.
    """
    distances = torch.cdist(centers, centers)
    kernel = (-(distances**2) / (2 * sigma**2)).exp() * (distances <= 3 * sigma)
    prior = (kernel / kernel.sum(dim=0)).double() @ counts.double()
    return (prior / prior.sum()).float()


def class_weights(prior: Tensor, uniform_share: float) -> Tensor:
    """Weight of each bin, 1 / ((1 - share) prior + share / occupied bins), scaled to a mean of 1 under the prior.

    Source: Zhang, Isola & Efros, ECCV 2016, section 2.2, Eq. 4. As in their code, the uniform part covers the
    occupied bins alone; a bin that was never seen has the largest weight of those that were.

    Shape:
        prior: (Q,), sums to 1.
        returns: (Q,), above 0.
    """
    occupied = prior > 0
    mixed = (1 - uniform_share) * prior + uniform_share / occupied.sum()
    weights = 1 / mixed.where(occupied, mixed[occupied].min())
    return weights / (prior * weights).sum()


def annealed_mean(logits: Tensor, centers: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """One colour from each distribution: between its mode (temperature 0) and its mean (1).

    Source: Zhang, Isola & Efros, ECCV 2016, section 2.3, Eq. 5.

    Shape:
        logits: (N, Q, h, w).
        centers: (Q, 2).
        returns: (N, 2, h, w) float32, ab.
    """
    return torch.einsum("nqhw,qc->nchw", (logits.float() / temperature).softmax(dim=1), centers)
