"""How images become a network's input: each channel's mean taken off, and the rest divided by its deviation."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from tessera.data.views import to_unit

Channels = tuple[float, float, float]  # red, green, blue


class Normalization(NamedTuple):
    """What is taken off and divided by, per channel, in units of [0, 1]: those of the images that trained a network."""

    mean: Channels
    std: Channels

    def of_pixels(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """A function from (N, 3, H, W) float32 in [0, 1], on the device, to the network's input of the same shape."""
        # Made once: a copy to the device in every step would wait for it.
        center, scale = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in self)
        return lambda pixels: (pixels - center) / scale

    def of_images(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """A function from (N, 3, H, W) uint8 to the network's input, float32 in channels_last, on the device."""
        normalize = self.of_pixels(device)
        return lambda images: normalize(to_unit(images.to(device).contiguous(memory_format=torch.channels_last)))
