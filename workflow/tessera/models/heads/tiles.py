"""Heads that answer for several tiles or patches of an image together."""

from collections.abc import Sequence

from torch import Tensor, nn

from tessera.models.heads.vectors import dense_layers, pool


class TileHead(nn.Module):
    """Joins the tiles of a puzzle late: each is pooled and goes through one shared layer, then all are concatenated.

    Source: Noroozi & Favaro, ECCV 2016, section 3.2, arXiv:1603.09246. Their shared layer has 1,024 units and their
    joint layer 4,096.

    Args:
        num_features: Channels of z.
        num_tiles: Tiles of a puzzle.
        shared: Units of the layer that each tile goes through.
        hidden: Units of the joint hidden layers.
        num_outputs: Arrangements of the tiles.
        dropout: On the joint hidden layers, 0 to below 1.
        shared_dropout: On the shared layer, 0 to below 1.

    Shape:
        features: (N * num_tiles, num_features, h, w), the tiles of a puzzle side by side.
        returns: (N, num_outputs).
    """

    def __init__(
        self,
        num_features: int,
        num_tiles: int,
        shared: int,
        hidden: Sequence[int],
        num_outputs: int,
        dropout: float = 0.0,
        shared_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_tiles = num_tiles
        self.tile = nn.Sequential(nn.Linear(num_features, shared), nn.ReLU(), nn.Dropout(shared_dropout))
        self.joint = dense_layers(num_tiles * shared, hidden, num_outputs, dropout)

    def forward(self, features: Tensor) -> Tensor:
        tiles = self.tile(pool(features))
        output: Tensor = self.joint(tiles.view(len(tiles) // self.num_tiles, -1))
        return output
