"""What the images of a split may be: a tensor, or a stock that gives tensors when it is indexed."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor

from tessera.data.packed import PackedImages


class Images(Protocol):
    """(N, 3, S, S) uint8 images: what `torch.Tensor` and `PackedImages` both offer.

    `images[index]` gives a tensor; `index_select` and `to` only choose, and decode nothing of packed images.
    """

    @property
    def shape(self) -> torch.Size: ...

    @property
    def device(self) -> torch.device: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor | slice, /) -> Tensor: ...

    def index_select(self, dim: int, index: Tensor, /) -> "Images": ...

    def to(self, device: torch.device, /) -> "Images": ...


def image_batches(images: Images, index: Tensor | Iterable[Tensor | slice]) -> Iterator[Tensor]:
    """`images[rows]` for each rows of the index, in order. Packed images are decoded some batches ahead.

    Args:
        index: Batches of indices, (B, n) int64 on any device, or any series of index tensors or slices.

    Shape:
        yields: (n, 3, S, S) uint8, on the images' device.
    """
    if isinstance(images, PackedImages):
        return images.batches(index.cpu() if isinstance(index, Tensor) else index)
    return (images[rows] for rows in (index.to(images.device) if isinstance(index, Tensor) else index))


def in_slices(images: Images, size: int) -> Iterator[Tensor]:
    """The images from the first to the last, so many at a time; one empty tensor where there are none."""
    return image_batches(images, [slice(start, start + size) for start in range(0, max(1, len(images)), size)])


def concatenate(parts: Sequence[Images]) -> Images:
    """The images of all parts, in order; the parts are of one dataset."""
    packed = [part for part in parts if isinstance(part, PackedImages)]
    if len(packed) == len(parts):
        return PackedImages.concatenate(packed)
    return torch.cat([cast(Tensor, part) for part in parts])
