"""What can be set of a task, and which image sizes it can carry. Torch-free: read while a plan is made."""

from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from tessera.registry import Options


class TaskOptions(Options):
    """What the plan asks of every task.

    Attributes:
        short: Abbreviation in folder and row names.
        label_fields: Options that determine what `generate_pretext_labels` makes; empty: nothing is made beforehand.
        labels_from_images: True where that is made from the source's images, False where from the options alone.
        uses_class_labels: True for supervised tasks.
        needs_color: True where what is predicted are colours, so that gray images teach nothing.
    """

    short: ClassVar[str]
    label_fields: ClassVar[tuple[str, ...]] = ()
    labels_from_images: ClassVar[bool] = False
    uses_class_labels: ClassVar[bool] = False
    needs_color: ClassVar[bool] = False

    def check_image_size(self, image_size: int) -> None:
        """Raises ValueError where images of this size (px) are too small, or no preset fits them."""

    def label_settings(self, image_size: int) -> dict[str, Any] | None:
        """What determines the artifact of `generate_pretext_labels`, or None where the task needs none."""
        if not self.label_fields:
            return None
        return self.at(image_size).model_dump(mode="json", include={"name", *self.label_fields})

    def at(self, image_size: int) -> "TaskOptions":
        """These options with every null filled from the preset of the image size."""
        return self


class PuzzleGeometry(NamedTuple):
    """Sizes of a 3x3 puzzle, px: a crop of three cells, each showing one tile; a tile is upsampled to `input_px`."""

    cell_px: int
    tile_px: int
    input_px: int
    channel_shift_px: int
    permutations: int


PUZZLES = {
    32: PuzzleGeometry(10, 8, 8, 1, 100),
    64: PuzzleGeometry(21, 17, 48, 2, 100),
    96: PuzzleGeometry(32, 26, 64, 2, 100),
}  # docs/methods.md, section 2.8
GRIDS = {32: 16, 64: 16, 96: 24}  # height and width of colour bins and segments, docs/methods.md 2.8


def _preset(table: dict[int, Any], image_size: int, what: str) -> Any:
    if image_size not in table:
        sizes = ", ".join(str(size) for size in sorted(table))
        raise ValueError(f"{what} has presets for images of {sizes} px, but these have {image_size} px")
    return table[image_size]


class JigsawOptions(TaskOptions):
    """Jigsaw puzzles: which permutation of the nine tiles is shown?"""

    short: ClassVar[str] = "jig"
    label_fields: ClassVar[tuple[str, ...]] = ("permutations", "rule", "permutation_seed")

    name: Literal["jigsaw"] = "jigsaw"
    permutations: int | None = Field(
        None, ge=2, le=10_000, description="Size of the permutation set; null: 100 at 32 to 96 px."
    )
    rule: Literal["max_min", "max_avg"] = Field(
        "max_min", description="Greedy choice by largest minimum, or largest mean, Hamming distance."
    )
    permutation_seed: int = Field(0, ge=0, description="Seed of the set; ties are broken at random.")
    cell_px: int | None = Field(None, ge=2, description="Side of a cell, px; null: 10, 21, 32 at 32, 64, 96 px.")
    tile_px: int | None = Field(None, ge=2, description="Side of a tile, px; null: 8, 17, 26 at 32, 64, 96 px.")
    input_px: int | None = Field(None, ge=2, description="Tiles are upsampled to it, px; null: 8, 48, 64.")
    gray: float = Field(0.5, ge=0, le=1, description="Probability that a puzzle is shown in gray.")
    channel_shift_px: int | None = Field(
        None, ge=0, description="Colour channels are cut apart by up to this, px; null: 1, 2, 2 at 32, 64, 96 px."
    )
    hidden: int = Field(512, ge=1, description="Units of the head's joint hidden layer.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout in the head; the paper's large head has 0.5.")

    def at(self, image_size: int) -> "JigsawOptions":
        fields = PuzzleGeometry._fields
        given = {key: getattr(self, key) for key in fields if getattr(self, key) is not None}
        if len(given) == len(fields):
            return self
        if image_size not in PUZZLES and given.keys() >= {"cell_px", "tile_px", "permutations"}:
            return self.model_copy(update={"input_px": given["tile_px"], "channel_shift_px": 0} | given)
        return self.model_copy(update=_preset(PUZZLES, image_size, "jigsaw")._asdict() | given)

    def check_image_size(self, image_size: int) -> None:
        full = self.at(image_size)
        assert full.cell_px is not None
        assert full.tile_px is not None
        assert full.channel_shift_px is not None
        if full.tile_px + full.channel_shift_px > full.cell_px:
            raise ValueError(
                f"jigsaw: a tile of tile_px {full.tile_px} with channel_shift_px {full.channel_shift_px} does not fit "
                f"a cell of cell_px {full.cell_px}"
            )
        if 3 * full.cell_px > image_size:
            raise ValueError(
                f"jigsaw: three cells of {full.cell_px} px do not fit images of {image_size} px: lower cell_px"
            )


class GridTaskOptions(TaskOptions):
    """A task that predicts on a grid coarser than the image."""

    def grid(self, image_size: int) -> int:
        """Height and width of the predicted map."""
        return int(_preset(GRIDS, image_size, f"{self.name}"))

    def check_image_size(self, image_size: int) -> None:
        self.grid(image_size)


class ColorizationOptions(GridTaskOptions):
    """Colorization: which ab bin has each pixel of a gray image?"""

    short: ClassVar[str] = "col"
    label_fields: ClassVar[tuple[str, ...]] = ("bins", "sigma", "prior_images")
    labels_from_images: ClassVar[bool] = True
    needs_color: ClassVar[bool] = True

    name: Literal["colorization"] = "colorization"
    bins: Literal["official313", "gamut_nn"] = Field(
        "official313", description="The released 313 bins, or the 261 that are nearest to some sRGB colour."
    )
    neighbors: int = Field(5, ge=1, le=10, description="Bins over which a colour is spread; the released code has 10.")
    sigma: float = Field(5.0, gt=0, description="Spread of the soft code and of the prior's smoothing, Lab units.")
    rebalance: float = Field(0.5, ge=0, le=1, description="Share of the uniform distribution in the class weights.")
    prior_images: int = Field(10_000, ge=1, description="Training images from which the bin prior is estimated.")
    hidden: int = Field(128, ge=1, description="Channels of the head's hidden convolution.")


class SegmentationOptions(GridTaskOptions):
    """Unsupervised segmentation: soft normalised cut and reconstruction from the segments (W-Net)."""

    short: ClassVar[str] = "seg"

    name: Literal["segmentation"] = "segmentation"
    segments: int = Field(20, ge=2, le=64, description="Number of segments K.")
    sigma_intensity: float = Field(10.0, gt=0, description="Scale of intensity differences, levels of 255.")
    sigma_position: float = Field(4.0, gt=0, description="Scale of distances, px of the grid.")
    radius: float = Field(5.0, gt=1, le=16, description="Only pixels nearer than this are compared, px of the grid.")
    cut_weight: float = Field(1.0, ge=0, description="Weight of the normalised cut.")
    reconstruction_weight: float = Field(1.0, ge=0, description="Weight of the squared reconstruction error.")
    divide_by_segments: bool = Field(True, description="Divide the cut by K, to the scale of the other tasks.")
    alternate: bool = Field(False, description="W-Net's two steps: the cut and the reconstruction take turns.")
    hidden: int = Field(128, ge=1, description="Channels of the head's hidden convolution.")

    @model_validator(mode="after")
    def _some_loss(self) -> "SegmentationOptions":
        if self.cut_weight == 0 and self.reconstruction_weight == 0:
            raise ValueError("cut_weight and reconstruction_weight are both 0: nothing would be learned")
        return self


class ReconstructionOptions(TaskOptions):
    """Reconstruction: the input image from its features (paper, Eq. 5 and 6)."""

    short: ClassVar[str] = "rcn"
    needs_color: ClassVar[bool] = True

    name: Literal["reconstruction"] = "reconstruction"
    kl: Literal["generalised", "bernoulli", "spatial", "literal"] = Field(
        "generalised", description="Reading of the divergence between images in Eq. 6."
    )
    entropy_weight: float = Field(1e-3, ge=0, description="Lambda of Eq. 6.")
    sparse_weight: float = Field(0.0, ge=0, description="Weight of the sparse autoencoder's term; its notes have 3.")
    sparse_target: float = Field(0.05, gt=0, lt=1, description="Wanted mean activation rho.")
    noise: float = Field(0.0, ge=0, le=1, description="Standard deviation of Gaussian noise on the input, of 1.")
    hidden: int = Field(128, ge=1, description="Channels of the head's hidden convolution.")

    def check_image_size(self, image_size: int) -> None:
        if image_size % 4:
            raise ValueError(f"reconstruction needs an image size divisible by 4, but images have {image_size} px")


class ClassificationOptions(TaskOptions):
    """Supervised classification by the dataset's own labels: the bound, not a pretext task."""

    short: ClassVar[str] = "cls"
    uses_class_labels: ClassVar[bool] = True

    name: Literal["classification"] = "classification"
    hidden: tuple[int, ...] = Field((512, 256), description="Units of the head's hidden layers.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the hidden layers.")
