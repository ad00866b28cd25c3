"""What can be set of puzzles of nine tiles, and which image sizes they can carry."""

from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from tessera.tasks.options.base import LARGE_PX, TaskOptions, preset_of


class PuzzleGeometry(NamedTuple):
    """Sizes of a 3x3 puzzle, px: a crop of three cells, each showing one tile; a tile is upsampled to `input_px`."""

    cell_px: int
    tile_px: int
    input_px: int
    channel_shift_px: int


PUZZLES = {
    32: PuzzleGeometry(10, 8, 8, 1),
    64: PuzzleGeometry(21, 17, 48, 2),
    96: PuzzleGeometry(32, 26, 64, 2),
    224: PuzzleGeometry(74, 56, 56, 2),
    256: PuzzleGeometry(85, 64, 64, 2),
}  # docs/methods.md, section 2.8


class PuzzleOptions(TaskOptions):
    """What all puzzles of nine tiles share."""

    label_fields: ClassVar[tuple[str, ...]] = ("permutations", "rule", "permutation_seed")

    permutations: int | None = Field(
        None,
        ge=2,
        le=10_000,
        description="Size of the permutation set; null: 100 at 32 to 96 px, 1,000 from 224 px on.",
    )
    rule: Literal["max_min", "max_avg"] = Field(
        "max_min", description="Greedy choice by largest minimum, or largest mean, Hamming distance."
    )
    permutation_seed: int = Field(0, ge=0, description="Seed of the set; ties are broken at random.")
    cell_px: int | None = Field(
        None, ge=2, description="Side of a cell, px; null: 10, 21, 32, 74, 85 at 32, 64, 96, 224, 256 px."
    )
    tile_px: int | None = Field(
        None, ge=2, description="Side of a tile, px; null: 8, 17, 26, 56, 64 at 32, 64, 96, 224, 256 px."
    )
    input_px: int | None = Field(None, ge=2, description="Tiles are upsampled to it, px; null: 8, 48, 64, 56, 64.")
    gray: float = Field(0.5, ge=0, le=1, description="Probability that a puzzle is shown in gray.")
    channel_shift_px: int | None = Field(
        None, ge=0, description="Colour channels are cut apart by up to this, px; null: 1 at 32 px, 2 from 64 px on."
    )
    tile_hidden: int | None = Field(
        None, ge=1, description="Units of the head's layer that all tiles share; null: 128, and 1,024 from 224 px on."
    )
    hidden: int | None = Field(
        None, ge=1, description="Units of the head's joint hidden layer; null: 512, and 4,096 from 224 px on."
    )
    dropout: float | None = Field(
        None, ge=0, lt=1, description="Dropout on both hidden layers; null: 0, and 0.5 from 224 px on."
    )

    def preset(self, image_size: int) -> dict[str, Any]:
        large = image_size >= LARGE_PX
        values: dict[str, Any] = {
            "permutations": 1000 if large else 100,
            "tile_hidden": 1024 if large else 128,
            "hidden": 4096 if large else 512,
            "dropout": 0.5 if large else 0.0,
        }
        if all(getattr(self, key) is not None for key in PuzzleGeometry._fields):
            return values
        if image_size not in PUZZLES and self.cell_px is not None and self.tile_px is not None:
            return values | {"input_px": self.tile_px, "channel_shift_px": 0}
        values.update(preset_of(PUZZLES, image_size, self.name)._asdict())
        return values

    def shown_px(self, image_size: int) -> int:
        full = self.at(image_size)
        assert full.input_px is not None
        return full.input_px

    def check_image_size(self, image_size: int) -> None:
        full = self.at(image_size)
        assert full.cell_px is not None
        assert full.tile_px is not None
        assert full.channel_shift_px is not None
        if full.tile_px + full.channel_shift_px > full.cell_px:
            raise ValueError(
                f"{self.name}: a tile of tile_px {full.tile_px} with channel_shift_px {full.channel_shift_px} does not "
                f"fit a cell of cell_px {full.cell_px}"
            )
        if 3 * full.cell_px > image_size:
            raise ValueError(
                f"{self.name}: three cells of {full.cell_px} px do not fit images of {image_size} px: lower cell_px"
            )


class JigsawOptions(PuzzleOptions):
    """Jigsaw puzzles: which permutation of the nine tiles is shown?"""

    short: ClassVar[str] = "jig"

    name: Literal["jigsaw"] = "jigsaw"


class JigsawPlusOptions(PuzzleOptions):
    """Jigsaw++: which permutation is shown, where up to two tiles are those of another image?"""

    short: ClassVar[str] = "jpp"

    name: Literal["jigsaw_plus"] = "jigsaw_plus"
    permutations: int = Field(701, ge=2, le=10_000, description="Size of the permutation set.")
    rule: Literal["max_min", "max_avg"] = Field(
        "max_avg", description="Greedy choice by largest mean, or largest minimum, Hamming distance; both at least 3."
    )
    foreign_tiles: int = Field(2, ge=0, le=2, description="At most so many tiles are foreign; 0 to this, uniformly.")
    projection: float = Field(
        0.5, ge=0, le=1, description="Probability that tiles in colour lose their green-magenta axis."
    )
