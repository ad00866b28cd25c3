"""Jigsaw++: which permutation is shown, where up to two tiles are those of another image?"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from tessera.tasks.base import TaskBatch
from tessera.tasks.options.puzzles import JigsawPlusOptions
from tessera.tasks.permutations import NUM_TILES
from tessera.tasks.puzzle import GRAY, Puzzle, standardize

AXIS = (-1.0, 2.0, -1.0)  # green against magenta, along which chromatic aberration shows
PLAIN, GRAYED, PROJECTED = range(3)


class JigsawPlus(Puzzle):
    """A puzzle in which none, one or two tiles, at random places, are tiles of another image of the batch.

    Source: Noroozi, Vinjimoor, Favaro & Pirsiavash, CVPR 2018, arXiv:1805.00385, and their code. The permutations
    differ in three places or more, so that those of the image's own tiles tell which one it is; there is no label for
    the foreign ones. The other image is the same for all foreign tiles of a puzzle, and each shows another cell of it.
    Own and foreign tiles are gray, or lose the axis between green and magenta, independently of each other.
    Their code multiplies the normalised tiles by 50; ours does not.

    Shape:
        inputs: (9 N, 3, input_px, input_px) float32; each tile has mean 0 and deviation 1 over its channels and pixels.
        labels: (N,) int64, 0 to P - 1.
        prediction: (N, P) logits.
    """

    options: JigsawPlusOptions
    min_distance: ClassVar[int] = 3

    def make_batch(self, images: Tensor, labels: Mapping[str, Tensor], generator: torch.Generator) -> TaskBatch:
        """See `Task.make_batch`.

        Raises:
            ValueError: If foreign tiles are wanted and there is one image only.
        """
        number, most = len(images), self.options.foreign_tiles
        if most > 0 and number < 2:
            raise ValueError("jigsaw_plus takes foreign tiles from other images of the batch, but it has one image.")
        permutation = torch.randint(self.num_choices, (number,), generator=generator)
        colors = self._colors(number, generator)
        corners = self._corners(number, images.shape[-1], generator)
        # One roll of the batch: nobody's partner is himself.
        shift = torch.randint(1, max(2, number), (), generator=generator)
        count = torch.randint(most + 1, (number, 1), generator=generator)
        places, cells = (_some_tiles(number, most, generator) for _ in range(2))

        permutation, colors, corners, count, places, cells = (
            drawn.to(images.device, non_blocking=True) for drawn in (permutation, colors, corners, count, places, cells)
        )
        tiles = self._cut(images, corners, self.permutations[permutation])
        foreign = torch.zeros(number, NUM_TILES, dtype=torch.bool, device=images.device)
        if most > 0:
            partners = images.roll(int(shift), dims=0)
            used = torch.arange(most, device=images.device) < count  # (N, most)
            foreign.scatter_(1, places, used)
            places = places[:, None, :, None].expand(-1, 3, -1, tiles.shape[-1])
            theirs = torch.where(used[:, None, :, None], self._cut(partners, corners, cells), tiles.gather(2, places))
            tiles.scatter_(2, places, theirs)
        color = torch.where(foreign, colors[:, 1:], colors[:, :1])  # (N, 9)
        tiles = torch.einsum("ntdc,nctp->ndtp", _color_maps(tiles.device)[color], tiles.float())
        return TaskBatch(self._enlarge(standardize(tiles, dims=(1, 3))), permutation)

    def _colors(self, number: int, generator: torch.Generator) -> Tensor:
        """How own and foreign tiles of each puzzle are coloured: (N, 2) int64."""
        gray, projected = torch.rand(2, number, 2, generator=generator)
        color = torch.where(projected < self.options.projection, PROJECTED, PLAIN)
        return torch.where(gray < self.options.gray, GRAYED, color)


def _some_tiles(number: int, most: int, generator: torch.Generator) -> Tensor:
    """Different tiles of nine, in random order: (N, most) int64."""
    return torch.rand(number, NUM_TILES, generator=generator).argsort(dim=1)[:, :most]


def _color_maps(device: torch.device) -> Tensor:
    """The linear maps that `PLAIN`, `GRAYED` and `PROJECTED` name: (3, 3, 3) float32."""
    axis = torch.tensor(AXIS)
    projection = torch.eye(3) - torch.outer(axis, axis) / axis.dot(axis)
    return torch.stack([torch.eye(3), torch.tensor(GRAY).expand(3, 3), projection]).to(device, non_blocking=True)
