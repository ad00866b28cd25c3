"""Jigsaw puzzles: which permutation of the nine tiles is shown?"""

from collections.abc import Mapping

import torch
from torch import Tensor

from tessera.data.constants import constant
from tessera.tasks.base import TaskBatch
from tessera.tasks.options.puzzles import JigsawOptions
from tessera.tasks.puzzle import GRAY, Puzzle, standardize


class Jigsaw(Puzzle):
    """A puzzle of one image's tiles.

    Source: Noroozi & Favaro, ECCV 2016, arXiv:1603.09246, with the shortcut prevention of their code: random gaps
    between tiles, gray puzzles, colour channels cut apart by a pixel or two (against chromatic aberration), and
    normalisation tile by tile. A shift of colour values, which some ports draw, would be taken out by the last.

    Shape:
        inputs: (9 N, 3, input_px, input_px) float32; each channel of a tile has mean 0 and deviation 1.
        labels: (N,) int64, 0 to P - 1.
        prediction: (N, P) logits.
    """

    options: JigsawOptions

    def make_batch(self, images: Tensor, labels: Mapping[str, Tensor], generator: torch.Generator) -> TaskBatch:
        number = len(images)
        permutation = torch.randint(self.num_choices, (number,), generator=generator)
        gray = torch.rand(number, generator=generator) < self.options.gray
        corners = self._corners(number, images.shape[-1], generator)

        permutation, gray, corners = (
            drawn.to(images.device, non_blocking=True) for drawn in (permutation, gray, corners)
        )
        tiles = self._cut(images, corners, self.permutations[permutation]).float()
        luma = torch.einsum("nctp,c->ntp", tiles, constant(GRAY, tiles.device))
        tiles = torch.where(gray[:, None, None, None], luma[:, None], tiles)
        return TaskBatch(self._enlarge(standardize(tiles, dims=(-1,))), permutation)
