"""The images of a transfer: views of a batch, the same for teacher and student, and what may be looked at before."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tessera.data.images import Images, in_slices
from tessera.data.store import Dataset, Split
from tessera.data.views import to_unit
from tessera.transfer.fixed_views import FixedViews


class Augment(Protocol):
    """From images (N, 3, H, W) uint8 to a random view of each, of the same shape."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor: ...


class Views(NamedTuple):
    """One batch of images, augmented once: the same pixels for teacher and student.

    Shape:
        pixels: (N, 3, H, W) float32 in [0, 1]; the teacher normalises them in its own way.
        inputs: (N, 3, H, W) float32, the same, normalised for the student.
        chosen: (N,) int64, on the CPU: which of the views these are that were drawn once, where they were.
    """

    pixels: Tensor
    inputs: Tensor
    chosen: Tensor | None = None


LARGE_PX = 96


def chunks(images: Images, number: int) -> Iterator[Tensor]:
    """The images in turn, (n, 3, H, W) uint8: `number` at once, or fewer where they are larger than 96 px."""
    height, width = images.shape[-2:]
    return in_slices(images, max(1, min(number, number * LARGE_PX**2 // (height * width))))


@dataclass(frozen=True)
class TargetImages:
    """What a method may look at before training.

    Attributes:
        dataset: The target's.
        index: (n,) int64: which of the training images have labels that may be read.
        augment: Makes the training's random views; None: the training does not augment.
        normalize: From pixels in [0, 1] to the student's input.
        fixed: Views that were drawn once of every training image, and are all that is shown; None: each is new.
    """

    dataset: Dataset
    index: Tensor
    augment: Augment | None
    normalize: Callable[[Tensor], Tensor]
    fixed: FixedViews | None = None

    @cached_property
    def labeled(self) -> Split:
        """Those images."""
        return self.dataset.train.subset(self.index)

    def views(self, images: Tensor, rows: Tensor, generator: torch.Generator) -> Views:
        """A batch as the training sees it: augmented where the training augments.

        Shape:
            images: (N, 3, H, W) uint8.
            rows: (N,) int64, on the CPU: which of the training images these are.
        """
        chosen = None
        if self.fixed is not None:
            chosen = self.fixed.choose(rows, generator)
            images = self.fixed.of(chosen).images(images)
        elif self.augment is not None:
            images = self.augment(images, generator=generator)
        pixels = to_unit(images).contiguous(memory_format=torch.channels_last)
        return Views(pixels, self.normalize(pixels), chosen)
