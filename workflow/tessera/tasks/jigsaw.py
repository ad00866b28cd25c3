"""Jigsaw puzzles: which permutation of the nine tiles is shown?"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.data.store import Dataset
from tessera.models.heads import TileHead
from tessera.tasks.base import ImageStatistics, Task, TaskBatch
from tessera.tasks.options import JigsawOptions
from tessera.tasks.permutations import NUM_TILES, choose_permutations

GRAY = (0.299, 0.587, 0.114)  # ITU-R BT.601
FLAT = 1e-3  # levels of 255; a deviation below it is rounding of a tile of one colour


class Jigsaw(Task):
    """Cut an image into 3x3 tiles, shuffle them by one of P known permutations, and ask for its index.

    Source: Noroozi & Favaro, ECCV 2016, arXiv:1603.09246, with the shortcut prevention of their code: random gaps
    between tiles, gray puzzles, colour channels cut apart by a pixel or two (against chromatic aberration), and
    normalisation tile by tile. A shift of colour values, which some ports draw, would be taken out by the last.

    Tile i of a puzzle shows cell perm[i] of the image, cells counted row by row; the label is the index of perm.

    Shape:
        inputs: (9 N, 3, input_px, input_px) float32, the tiles of a puzzle side by side; mean 0, deviation 1 each.
        labels: (N,) int64, 0 to P - 1.
        prediction: (N, P) logits.
    """

    options: JigsawOptions

    def __init__(
        self, options: JigsawOptions, statistics: ImageStatistics, prepared: Mapping[str, Tensor], device: torch.device
    ) -> None:
        super().__init__(options.at(statistics.image_size), statistics, prepared, device)
        self.permutations = self.prepared["permutations"]

    @classmethod
    def prepare(
        cls, options: JigsawOptions, image_size: int, dataset: Dataset | None, generator: torch.Generator
    ) -> dict[str, Tensor]:
        number = options.permutations or options.at(image_size).permutations
        assert number is not None
        # The set has a seed of its own, so that trials and studies share it.
        own = torch.Generator().manual_seed(options.permutation_seed)
        return {"permutations": choose_permutations(number, options.rule, own)}

    def build_head(self, num_features: int) -> nn.Module:
        return TileHead(
            num_features, NUM_TILES, self.options.hidden, len(self.permutations), dropout=self.options.dropout
        )

    def make_batch(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> TaskBatch:
        number = len(images)
        permutation = torch.randint(len(self.permutations), (number,), generator=generator)
        gray = torch.rand(number, generator=generator) < self.options.gray
        corners = self._corners(number, images.shape[-1], generator)

        permutation, gray, corners = (
            drawn.to(images.device, non_blocking=True) for drawn in (permutation, gray, corners)
        )
        cells = self.permutations[permutation]  # (N, 9)
        corners = corners.gather(2, cells[:, None, :, None].expand(-1, 3, -1, 2))
        tiles = self._cut(images, corners).float()  # (N, 3, 9, t * t)
        luma = torch.einsum("nctp,c->ntp", tiles, torch.tensor(GRAY, device=tiles.device))
        tiles = torch.where(gray[:, None, None, None], luma[:, None], tiles)
        return TaskBatch(self._finish(tiles), permutation)

    def _corners(self, number: int, image_size: int, generator: torch.Generator) -> Tensor:
        """Top left corner of the tile in each of the image's cells, a channel, (N, 3, 9, 2) int64.

        One crop an image, one jitter a cell, and a shift of each channel within what the jitter leaves.
        """
        cell, tile, shift = self.options.cell_px, self.options.tile_px, self.options.channel_shift_px
        assert cell is not None
        assert tile is not None
        assert shift is not None
        crop = torch.randint(image_size - 3 * cell + 1, (number, 1, 1, 2), generator=generator)
        jitter = torch.randint(cell - tile - shift + 1, (number, 1, NUM_TILES, 2), generator=generator)
        apart = torch.randint(shift + 1, (number, 3, NUM_TILES, 2), generator=generator)
        return crop + cell * torch.cartesian_prod(torch.arange(3), torch.arange(3)) + jitter + apart

    def _cut(self, images: Tensor, corners: Tensor) -> Tensor:
        assert self.options.tile_px is not None
        steps = torch.arange(self.options.tile_px, device=images.device)
        rows, columns = (corners[..., axis, None] + steps for axis in (0, 1))  # (N, 3, 9, t)
        pixels = (rows[..., :, None] * images.shape[-1] + columns[..., None, :]).flatten(2)
        cut = images.flatten(2).gather(2, pixels)
        return cut.view(len(images), 3, NUM_TILES, -1)

    def _finish(self, tiles: Tensor) -> Tensor:
        # Two passes take a tenth of the time of std_mean, and values of 0 to 255 lose nothing by them.
        tiles = tiles - tiles.mean(dim=-1, keepdim=True)
        deviation = tiles.square().mean(dim=-1, keepdim=True).sqrt()
        tiles = tiles / torch.where(deviation < FLAT, 1.0, deviation)
        side, wanted = self.options.tile_px, self.options.input_px
        assert side is not None
        assert wanted is not None
        tiles = tiles.transpose(1, 2).reshape(-1, 3, side, side)
        if wanted == side:
            return tiles
        return F.interpolate(tiles, size=(wanted, wanted), mode="bilinear", align_corners=False)

    def loss(self, prediction: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(prediction.float(), labels)

    @torch.no_grad()
    def metrics(self, prediction: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"accuracy": (prediction.argmax(dim=1) == labels).float().mean()}

    def chance(self) -> dict[str, float]:
        number = len(self.permutations)
        return {"loss": math.log(number), "accuracy": 1 / number}


def unshuffle(tiles: Tensor, permutations: Tensor) -> Tensor:
    """Puts the tiles of puzzles back into the order of the image's cells, row by row; for previews.

    Args:
        permutations: The permutation of each puzzle, not its index.

    Shape:
        tiles: (N, 9, …) any dtype.
        permutations: (N, 9) int64.
        returns: the shape of `tiles`.
    """
    places = permutations.argsort(dim=1)  # the inverse: where each cell's tile went
    return tiles[torch.arange(len(tiles), device=tiles.device)[:, None], places]
