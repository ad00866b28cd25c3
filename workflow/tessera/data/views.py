"""Views of images: batched augmentation on the device that holds them."""

import torch
import torch.nn.functional as F
from torch import Tensor


def flip_and_crop(images: Tensor, generator: torch.Generator, padding: int, size: int | None = None) -> Tensor:
    """Crops each image at random out of a frame of zeros, and mirrors it with probability one half.

    Source: the usual augmentation of CIFAR (Lin et al. 2013; He et al., CVPR 2016, section 4.2), as one gather.

    Args:
        generator: On the CPU, so that a seed means the same views on every device.
        padding: Width of the frame on each side, px, at least 0.
        size: Height and width of the crop, px; None: those of the image, so that it moves by at most the padding.

    Shape:
        images: (N, 3, H, W) uint8.
        returns: (N, 3, size, size) uint8, or (N, 3, H, W) without a size; a new tensor.

    Raises:
        ValueError: If the padding is negative, or the crop larger than the framed image.
    """
    if padding < 0:
        raise ValueError(f"padding must be at least 0, but is {padding}.")
    number, channels, *sides = images.shape
    sizes = sides if size is None else [size, size]
    rooms = [side + 2 * padding - wanted for side, wanted in zip(sides, sizes, strict=True)]
    if min(rooms) < 0:
        raise ValueError(f"a crop of {size} px does not fit images of {sides[0]} x {sides[1]} px framed by {padding}.")
    flips = torch.randint(2, (number,), generator=generator)
    offsets = [torch.randint(room + 1, (number,), generator=generator) for room in rooms]
    # One small copy to the device a call.
    flips, down, right = torch.stack([flips, *offsets]).to(images.device, non_blocking=True)[:, :, None]

    columns = torch.arange(sizes[1], device=images.device)
    columns = torch.where(flips == 1, sizes[1] - 1 - columns, columns)
    columns = columns + right  # (N, size): the crop, read backwards where it is mirrored
    rows = torch.arange(sizes[0], device=images.device) + down  # (N, size)
    framed = F.pad(images, (padding, padding, padding, padding)).flatten(2)
    pixels = rows[:, :, None] * (sides[1] + 2 * padding) + columns[:, None, :]
    views = framed.gather(2, pixels.flatten(1)[:, None].expand(-1, channels, -1))
    return views.view(number, channels, *sizes)


def to_unit(images: Tensor) -> Tensor:
    """From bytes to fractions.

    Shape:
        images: (…) uint8.
        returns: the same shape, float32, 0 to 1.
    """
    return images.float() / 255
