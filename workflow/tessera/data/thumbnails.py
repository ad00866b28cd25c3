"""Small pictures that an artifact keeps beside its figures: strips of images, one below the other in one file."""

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

log = logging.getLogger("tessera")

QUALITY = 88
Strip = tuple[int, int, int]  # number of images, their height and width, px


class Pictured(Protocol):
    """A prepared dataset."""

    @property
    def shows_people(self) -> bool: ...


def may_draw(dataset: Pictured, what: str) -> bool:
    """Whether pictures of a dataset's images may be kept: asked by everything that keeps some.

    Args:
        what: What is not kept else, for the log.
    """
    if dataset.shows_people:
        log.info("no %s: the dataset shows people, and no image of it is drawn", what)
    return not dataset.shows_people


def shrink(images: Tensor, most_px: int) -> Tensor:
    """The images, made smaller where a side is longer than `most_px`; never larger.

    Shape:
        images: (N, 3, h, w) uint8.
        returns: (N, 3, h', w') uint8.
    """
    height, width = images.shape[-2:]
    scale = most_px / max(height, width)
    if scale >= 1:
        return images
    size = max(1, round(height * scale)), max(1, round(width * scale))
    # bicubic can overshoot what a byte holds; bilinear cannot.
    return F.interpolate(images.float(), size=size, mode="bilinear", antialias=True).round().byte()


def save_sheet(strips: Sequence[Tensor], path: Path) -> list[Strip]:
    """Writes strips of photographs, each strip with a size of its own, as one JPEG; equal images are equal bytes.

    Returns:
        Where to find them again: number, height and width of each strip's images, in order.

    Shape:
        strips: each (n, 3, h, w) uint8; at least one.
    """
    content, sizes = sheet(strips)
    path.write_bytes(content)
    return sizes


def sheet(strips: Sequence[Tensor], lossless: bool = False) -> tuple[bytes, list[Strip]]:
    """The same as bytes, not yet written.

    Args:
        lossless: As PNG: of pictures of maps, whose flat colours a JPEG smears at their edges.
    """
    sizes = [(len(strip), strip.shape[2], strip.shape[3]) for strip in strips]
    width = max(number * across for number, _, across in sizes)
    pixels = torch.full((sum(height for _, height, _ in sizes), width, 3), 255, dtype=torch.uint8)
    top = 0
    for strip, (number, height, across) in zip(strips, sizes, strict=True):
        pixels[top : top + height, : number * across] = strip.cpu().permute(2, 0, 3, 1).flatten(1, 2)
        top += height
    stream, image = io.BytesIO(), Image.fromarray(pixels.numpy())
    if lossless:
        image.save(stream, format="PNG", optimize=True)
    else:  # without subsampling: colours of small images are what is looked at
        image.save(stream, format="JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue(), sizes
