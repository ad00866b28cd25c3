"""Views that are drawn once: what a teacher says of them need be computed once, too."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tessera.data.views import View, draw
from tessera.training.randomness import generator_of


@dataclass(frozen=True)
class FixedViews:
    """`number` random views of each training image of a target, drawn by the trial alone.

    Attributes:
        views: Of all images: those numbered 0, then those numbered 1, and so on.
        images: How many images there are.
        number: How many views each has.
    """

    views: View
    images: int
    number: int

    @classmethod
    def drawn(cls, images: int, size: int, number: int, padding: int | None, trial: int) -> "FixedViews":
        """Draws them.

        Args:
            size: Height and width of the images, px.
            padding: Width of the frame that views move in, px; None: all views are the image as it is.
        """
        generator = generator_of(trial, "fixed views")
        frame = {"flip": False, "padding": 0} if padding is None else {"flip": True, "padding": padding}
        return cls(draw(number * images, (size, size), generator, **frame), images, number)  # type: ignore[arg-type]

    def choose(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """One view of each of these images, by chance.

        Shape:
            rows: (N,) int64, of the training split, on the CPU.
            returns: (N,) int64, numbers that `of` reads.
        """
        return rows + self.images * torch.randint(self.number, rows.shape, generator=generator)

    def of(self, chosen: Tensor) -> View:
        """The chosen views, as `choose` gives them."""
        return self.views.of(chosen)
