"""Views of images: batched augmentation on the device that holds them."""

import torch
import torch.nn.functional as F
from torch import Tensor


def flip_and_crop(images: Tensor, generator: torch.Generator, padding: int) -> Tensor:
    """Crops each image at random out of a frame of zeros, and mirrors it with probability one half.

    Source: the usual augmentation of CIFAR (Lin et al. 2013; He et al., CVPR 2016, section 4.2), as one gather.

    Args:
        generator: On the CPU, so that a seed means the same views on every device.
        padding: Width of the frame on each side, px, at least 0; the crop moves by at most that much.

    Shape:
        images: (N, 3, H, W) uint8.
        returns: (N, 3, H, W) uint8, a new tensor.

    Raises:
        ValueError: If the padding is negative.
    """
    if padding < 0:
        raise ValueError(f"padding must be at least 0, but is {padding}.")
    number, channels, height, width = images.shape
    flips = torch.randint(2, (number,), generator=generator)
    offsets = torch.randint(2 * padding + 1, (2, number), generator=generator)
    # One small copy to the device a call.
    flips, down, right = torch.cat([flips[None], offsets]).to(images.device, non_blocking=True)[:, :, None]

    columns = torch.arange(width, device=images.device)
    columns = torch.where(flips == 1, width - 1 - columns, columns)
    columns = columns + right  # (N, W): the crop, read backwards where it is mirrored
    rows = torch.arange(height, device=images.device) + down  # (N, H)
    framed = F.pad(images, (padding, padding, padding, padding)).flatten(2)
    pixels = rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]
    return framed.gather(2, pixels.flatten(1)[:, None].expand(-1, channels, -1)).view_as(images)


def to_unit(images: Tensor) -> Tensor:
    """From bytes to fractions.

    Shape:
        images: (…) uint8.
        returns: the same shape, float32, 0 to 1.
    """
    return images.float() / 255
