"""What all puzzles of nine tiles share: the permutation set, the geometry, and the head."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.data.store import Dataset
from tessera.models.heads.tiles import TileHead
from tessera.tasks.base import Preview, TaskBatch, to_bytes
from tessera.tasks.choice import ChoiceTask
from tessera.tasks.options.puzzles import PuzzleOptions
from tessera.tasks.permutations import NUM_TILES, choose_permutations

GRAY = (0.299, 0.587, 0.114)  # ITU-R BT.601
FLAT = 1e-3  # levels of 255; a deviation below it is rounding of a tile of one colour
SHOWN_DEVIATIONS = 2.5  # of a standardised tile, to each side, between black and white


class Puzzle(ChoiceTask):
    """Cut an image into 3x3 tiles, shuffle them by one of P known permutations, and ask for its index.

    Tile i of a puzzle shows cell perm[i] of the image, cells counted row by row; the label is the index of perm.

    Shape:
        inputs: (9 N, 3, input_px, input_px) float32, the tiles of a puzzle side by side.
    """

    options: PuzzleOptions
    min_distance: ClassVar[int] = 1  # places in which any two permutations of the set differ at least

    def setup(self) -> None:
        self.permutations = self.prepared["permutations"]
        self.num_choices = len(self.permutations)

    @classmethod
    def prepare(
        cls, options: PuzzleOptions, image_size: int, dataset: Dataset | None, generator: torch.Generator
    ) -> dict[str, Tensor]:
        number = options.permutations or options.at(image_size).permutations
        assert number is not None
        # The set has a seed of its own, so that trials and studies share it.
        own = torch.Generator().manual_seed(options.permutation_seed)
        return {"permutations": choose_permutations(number, options.rule, own, cls.min_distance)}

    def build_head(self, num_features: int) -> nn.Module:
        shared, hidden, dropout = self.options.tile_hidden, self.options.hidden, self.options.dropout
        assert shared is not None
        assert hidden is not None
        assert dropout is not None
        return TileHead(num_features, NUM_TILES, shared, (hidden,), self.num_choices, dropout, shared_dropout=dropout)

    def preview(self, batch: TaskBatch, prediction: Tensor, number: int) -> Preview:
        """The tiles as shown, put back as predicted, and where they belong; tiles put in a wrong place are pale."""
        tiles = to_bytes(0.5 + batch.inputs / (2 * SHOWN_DEVIATIONS))
        tiles = tiles.view(-1, NUM_TILES, *tiles.shape[1:])[:number]
        right, guessed = (
            self.permutations[choices[:number]].cpu() for choices in (batch.labels, prediction.argmax(dim=1))
        )
        wrong = (right != guessed)[:, :, None, None, None]
        marked = torch.where(wrong, 255 - (255 - tiles) // 2, tiles)
        views = {
            "shown": _mosaic(tiles),
            "put back": _mosaic(unshuffle(marked, guessed)),
            "right": _mosaic(unshuffle(tiles, right)),
        }
        solved = int((right == guessed).all(dim=1).sum())
        return Preview(views, f"Tiles put in a wrong place are pale; {solved} of {len(tiles)} puzzles are solved.")

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

    def _cut(self, images: Tensor, corners: Tensor, cells: Tensor) -> Tensor:
        """Tiles of the images in these cells.

        Shape:
            images: (N, 3, H, W) uint8.
            corners: (N, 3, 9, 2), of all cells.
            cells: (N, K) int64.
            returns: (N, 3, K, tile_px^2) uint8.
        """
        assert self.options.tile_px is not None
        corners = corners.gather(2, cells[:, None, :, None].expand(-1, 3, -1, 2))
        steps = torch.arange(self.options.tile_px, device=images.device)
        rows, columns = (corners[..., axis, None] + steps for axis in (0, 1))  # (N, 3, K, t)
        pixels = (rows[..., :, None] * images.shape[-1] + columns[..., None, :]).flatten(2)
        cut = images.flatten(2).gather(2, pixels)
        return cut.view(*cut.shape[:2], cells.shape[1], -1)

    def _enlarge(self, tiles: Tensor) -> Tensor:
        """From (N, 3, 9, tile_px^2) to inputs."""
        side, wanted = self.options.tile_px, self.options.input_px
        assert side is not None
        assert wanted is not None
        tiles = tiles.transpose(1, 2).reshape(-1, 3, side, side)
        if wanted == side:
            return tiles
        return F.interpolate(tiles, size=(wanted, wanted), mode="bilinear", align_corners=False)


def standardize(tiles: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Mean 0 and deviation 1 over these dimensions; what is flat becomes 0."""
    # Two passes take a tenth of the time of std_mean, and values of 0 to 255 lose nothing by them.
    tiles = tiles - tiles.mean(dim=dims, keepdim=True)
    deviation = tiles.square().mean(dim=dims, keepdim=True).sqrt()
    return tiles / torch.where(deviation < FLAT, 1.0, deviation)


def _mosaic(tiles: Tensor) -> Tensor:
    """Nine tiles of each puzzle, row by row, with white gaps between them: (N, 9, 3, s, s) to (N, 3, S, S) uint8."""
    side = tiles.shape[-1]
    step = side + max(1, side // 12)
    picture = torch.full((len(tiles), 3, step + step + side, step + step + side), 255, dtype=torch.uint8)
    for place in range(NUM_TILES):
        top, left = place // 3 * step, place % 3 * step
        picture[:, :, top : top + side, left : left + side] = tiles[:, place]
    return picture


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
