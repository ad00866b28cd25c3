"""Heads that answer for each cell of a grid, or with an image."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.models.heads.vectors import pool


class Expansion(nn.Module):
    """Widens a map to a given size: a 3x3 convolution, then sub-pixel upsampling by a factor, each with BN and ReLU.

    Source of the upsampling: Shi et al., CVPR 2016, arXiv:1609.05158, with a 1x1 convolution. It costs a fraction of
    bilinear upsampling followed by a 3x3 convolution, since it works at the coarse size. Where the factor does not
    lead to the wanted size (other encoders, odd sizes), bilinear interpolation does the rest.

    Args:
        num_features: Channels of z.
        hidden: Channels of the 3x3 convolution.
        channels: Channels of the result.
        factor: Of the sub-pixel upsampling, at least 1.
        size: Height and width of the result; None: the map's, times the factor.

    Shape:
        features: (N, num_features, h, w).
        returns: (N, channels, size, size).
    """

    def __init__(self, num_features: int, hidden: int, channels: int, factor: int, size: int | None) -> None:
        super().__init__()
        self.size = size
        self.layers = nn.Sequential(
            nn.Conv2d(num_features, hidden, 3, padding=1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(),
            nn.Conv2d(hidden, channels * factor**2, 1, bias=False), nn.PixelShuffle(factor),
            nn.BatchNorm2d(channels), nn.ReLU(),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        maps: Tensor = self.layers(features)
        return maps if self.size is None else resize(maps, self.size)


def resize(maps: Tensor, size: int) -> Tensor:
    """Bilinear interpolation to (size, size), unless the maps have that size."""
    if maps.shape[-2:] == (size, size):
        return maps
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)


class GridHead(nn.Module):
    """One prediction for each cell of a grid.

    Args:
        num_features: Channels of z.
        hidden: Channels of the hidden convolution; half of them reach the last layer.
        num_outputs: Channels of the prediction.
        grid: Height and width of the prediction.
        factor: Of the sub-pixel upsampling; bilinear interpolation does the rest.

    Shape:
        features: (N, num_features, h, w).
        returns: (N, num_outputs, grid, grid).
    """

    def __init__(self, num_features: int, hidden: int, num_outputs: int, grid: int, factor: int) -> None:
        super().__init__()
        inner = max(1, hidden // 2)
        self.expansion = Expansion(num_features, hidden, inner, factor, size=grid)
        self.output = nn.Conv2d(inner, num_outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.output(self.expansion(features))
        return output


class Rebuilt(NamedTuple):
    """What `ImageHead` predicts.

    Shape:
        image: (N, 3, S, S) float32, within (0, 1).
        features: (N, C), z pooled.
    """

    image: Tensor
    features: Tensor


class ImageHead(nn.Module):
    """The image from its features.

    Args:
        num_features: Channels of z.
        hidden: Channels of the hidden convolution.
        image_size: Height and width of the image, px.
        map_size: Height and width of the map it is predicted on, px; bilinear interpolation does the rest.
        factor: Of the sub-pixel upsampling to that map.
    """

    def __init__(self, num_features: int, hidden: int, image_size: int, map_size: int, factor: int) -> None:
        super().__init__()
        self.image_size = image_size
        inner = max(8, hidden // 8)
        self.expansion = Expansion(num_features, hidden, inner, factor, size=map_size)
        self.output = nn.Conv2d(inner, 3, 3, padding=1)

    def forward(self, features: Tensor) -> Rebuilt:
        # The sigmoid is taken in float32: the divergences need the tails that bfloat16 rounds to 0 and 1.
        logits = self.output(self.expansion(features)).float()
        return Rebuilt(resize(logits, self.image_size).sigmoid(), pool(features))


class Segments(NamedTuple):
    """What `SegmentHead` predicts.

    Shape:
        shares: (N, K, g, g) float32, each cell's distribution over the segments.
        image: (N, 3, g, g) float32, within (0, 1), rebuilt from the shares alone.
    """

    shares: Tensor
    image: Tensor


class SegmentHead(nn.Module):
    """Soft segments, and the image rebuilt from them: W-Net with the encoder as its contracting path.

    Source: Xia & Kulis 2017, arXiv:1711.08506, section 3. Their second U-Net has nine modules; ours has two levels.

    Args:
        num_features: Channels of z.
        hidden: Channels of the hidden convolution; a quarter of them in the second U-Net.
        num_segments: K.
        grid: Height and width of the segments.
        factor: Of the sub-pixel upsampling.
    """

    def __init__(self, num_features: int, hidden: int, num_segments: int, grid: int, factor: int) -> None:
        super().__init__()
        width = max(8, hidden // 4)
        self.segments = GridHead(num_features, hidden, num_segments, grid, factor)
        self.fine = _block(num_segments, width)
        self.coarse = _block(width, 2 * width)
        self.output = nn.Sequential(_block(3 * width, width), nn.Conv2d(width, 3, 1))

    def forward(self, features: Tensor) -> Segments:
        shares = self.segments(features).float().softmax(dim=1)
        fine = self.fine(shares)
        coarse = resize(self.coarse(F.max_pool2d(fine, 2)), fine.shape[-1])
        image = self.output(torch.cat([fine, coarse], dim=1)).float().sigmoid()
        return Segments(shares, image)


def _block(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    )
