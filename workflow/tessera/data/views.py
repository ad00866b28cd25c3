"""Views of images: batched augmentation on the device that holds them, of pixels and of their labels alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.data.columns import none_of
from tessera.data.labels import Kind


@dataclass(frozen=True)
class View:
    """What is seen of each image of a batch: a window, perhaps mirrored, perhaps enlarged.

    Attributes:
        shape: Height and width of what is seen, px.
        padding: Width of the frame on each side that a window may reach into, px.
        scales: How many times each is enlarged, (N,) float32, at least 1; None: none is.

    Shape:
        flips: (N,) int64, 1 where it is mirrored from left to right.
        down, right: (N,) int64, the window's first row and column in the framed image.
    """

    shape: tuple[int, int]
    flips: Tensor
    down: Tensor
    right: Tensor
    padding: int = 0
    scales: Tensor | None = None

    def of(self, rows: Tensor) -> "View":
        """The views of these rows (M,) int64, on the CPU, in their order."""
        scales = None if self.scales is None else self.scales[rows]
        return View(self.shape, self.flips[rows], self.down[rows], self.right[rows], self.padding, scales)

    def images(self, images: Tensor) -> Tensor:
        """What is seen of the images; the frame is black, and what is enlarged is interpolated linearly.

        Shape:
            images: (N, C, H, W) uint8.
            returns: (N, C, h, w) uint8, as `shape` has it.
        """
        if self.scales is None:
            return self._nearest(images, 0)
        height, width = images.shape[-2:]
        centers = [2 * at / side - 1 for at, side in zip(self._centers(images.device), (height, width), strict=True)]
        rows, columns = centers  # of the window's pixels, in [-1, 1] from border to border of the image
        grid = torch.stack(
            [columns[:, None, :].expand(-1, *self.shape), rows[:, :, None].expand(-1, *self.shape)], dim=-1
        )
        seen = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
        return seen.round().to(images.dtype)

    def column(self, kind: Kind, maps: Tensor) -> Tensor:
        """What is seen of a column of maps: each pixel's nearest label, none in the frame.

        What is enlarged s times is nearer: its depth is divided by s, its disparity multiplied. What is mirrored has
        normals whose x is negated. Normals of what is enlarged stay as they are, as if all had come nearer.

        Source: the augmentation of MTAN's and Auto-lambda's code (docs/methods.md 2.9).

        Shape:
            maps: (N, H, W), or (N, 3, H, W) of normals, as `StoredColumns.rows` gives them.
            returns: the same with `shape`; classes as they are, all else float32.
        """
        seen = self._nearest(maps if maps.ndim == 4 else maps[:, None], none_of(kind))
        if kind == "class_map":
            return seen[:, 0]
        seen = seen.float()
        if kind == "normal_map":
            across = 1 - 2 * self.flips.to(maps.device, non_blocking=True).view(-1, 1, 1)
            return torch.stack([seen[:, 0] * across, seen[:, 1], seen[:, 2]], dim=1)
        if self.scales is not None:
            scales = self.scales.to(maps.device, non_blocking=True).view(-1, 1, 1, 1)
            seen = seen * scales if kind == "disparity_map" else seen / scales
        return seen[:, 0]

    def _nearest(self, images: Tensor, none: int) -> Tensor:
        if self.scales is None:
            flips, down, right = self._placed(images.device)
            rows = torch.arange(self.shape[0], device=images.device) + down
            columns = torch.arange(self.shape[1], device=images.device)
            columns = torch.where(flips == 1, self.shape[1] - 1 - columns, columns) + right
        else:
            rows, columns = (centers.floor().long() for centers in self._centers(images.device))
        return _gather(images, rows, columns, self.padding, none)

    def _centers(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Where the centres of the window's pixels lie, (N, h) and (N, w), float32, px from the image's corner."""
        assert self.scales is not None
        flips, down, right = self._placed(device)
        scales = self.scales.to(device, non_blocking=True)[:, None]
        rows = down + (torch.arange(self.shape[0], device=device) + 0.5) / scales
        columns = torch.arange(self.shape[1], device=device)
        columns = torch.where(flips == 1, self.shape[1] - 1 - columns, columns)
        return rows, right + (columns + 0.5) / scales

    def _placed(self, device: torch.device) -> Tensor:
        # One small copy to the device a call; (3, N, 1).
        return torch.stack([self.flips, self.down, self.right]).to(device, non_blocking=True)[:, :, None]


def draw(
    number: int,
    shape: tuple[int, int],
    generator: torch.Generator,
    *,
    flip: bool = True,
    scales: Sequence[float] = (),
    crop: tuple[int, int] | None = None,
    padding: int = 0,
) -> View:
    """Draws a view of each image.

    Args:
        shape: Height and width of the images, px.
        generator: On the CPU, so that a seed means the same views on every device.
        flip: Whether each is mirrored with probability one half.
        scales: Of which one is drawn for each image, all alike; each at least 1.
        crop: Height and width of the window, px; None: those of the image.
        padding: Width of the frame on each side, px; with scales there is none.

    Raises:
        ValueError: If the window does not fit, a scale is below 1, or scales are asked for in a frame.
    """
    if padding < 0 or (padding and scales):
        raise ValueError(f"padding must be at least 0{', and 0 with scales' if scales else ''}, but is {padding}.")
    if scales and min(scales) < 1:
        raise ValueError(f"scales must be at least 1, but one is {min(scales)}.")
    sizes = shape if crop is None else crop
    rooms = [side + 2 * padding - wanted for side, wanted in zip(shape, sizes, strict=True)]
    if min(rooms) < 0:
        window, whole = (f"{height} x {width} px" for height, width in (sizes, shape))
        raise ValueError(f"a crop of {window} does not fit images of {whole} framed by {padding}.")
    flips = torch.randint(2, (number,), generator=generator) if flip else torch.zeros(number, dtype=torch.int64)
    if not scales:
        down, right = (torch.randint(room + 1, (number,), generator=generator) for room in rooms)
        return View(sizes, flips, down, right, padding)
    drawn = torch.tensor(scales, dtype=torch.float32)[torch.randint(len(scales), (number,), generator=generator)]
    places = list[Tensor]()
    for side, wanted in zip(shape, sizes, strict=True):
        room = side - (wanted / drawn).ceil().long()  # of a window so many times smaller, which is then enlarged
        places.append((torch.rand(number, generator=generator) * (room + 1)).floor().long().minimum(room))
    return View(sizes, flips, down=places[0], right=places[1], scales=drawn)


def middle(number: int, shape: tuple[int, int], crop: tuple[int, int] | None = None) -> View:
    """The middle of each image, as it is: all of it without a crop (height and width, px)."""
    sizes = shape if crop is None else crop
    down, right = (torch.full((number,), (side - wanted) // 2) for side, wanted in zip(shape, sizes, strict=True))
    return View(sizes, torch.zeros(number, dtype=torch.int64), down, right)


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
    number, _, height, width = images.shape
    crop = None if size is None else (size, size)
    return draw(number, (height, width), generator, crop=crop, padding=padding).images(images)


def to_unit(images: Tensor) -> Tensor:
    """From bytes to fractions.

    Shape:
        images: (…) uint8.
        returns: the same shape, float32, 0 to 1.
    """
    return images.float() / 255


def _gather(images: Tensor, rows: Tensor, columns: Tensor, padding: int, value: int) -> Tensor:
    """The pixels of these rows and columns of each image, within a frame of one value: one gather.

    Shape:
        images: (N, C, H, W).
        rows, columns: (N, h) and (N, w) int64, from the frame's corner.
        returns: (N, C, h, w), of the images' type; a new tensor.
    """
    framed = F.pad(images, (padding,) * 4, value=value) if padding else images
    pixels = rows[:, :, None] * framed.shape[-1] + columns[:, None, :]
    found = framed.flatten(2).gather(2, pixels.flatten(1)[:, None].expand(-1, images.shape[1], -1))
    return found.view(*images.shape[:2], rows.shape[1], columns.shape[1])
