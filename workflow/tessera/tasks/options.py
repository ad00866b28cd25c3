"""What can be set of a task, and which image sizes it can carry. Torch-free: read while a plan is made."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from tessera.parts import PartOf
from tessera.registry import Options


class TaskOptions(Options):
    """What the plan asks of every task.

    Attributes:
        short: Abbreviation in folder names; of a user's own task it may be left out, for `registry.label`.
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

    def clashes(self, whole: Any) -> Iterator[str]:
        pixels = whole.dataset.pixels()
        if self.uses_class_labels and "class" not in whole.dataset.label_columns().values():
            yield (
                f"{self.name} learns the class of each image, but dataset `{whole.dataset.name}` has boxes instead: "
                "choose a dataset with classes, or tasks that make their own labels"
            )
        try:
            self.check_image_size(pixels)
        except ValueError as error:
            yield str(error)
            return
        shown, least = self.shown_px(pixels), whole.encoder.smallest_px
        if shown < least:
            yield (
                f"{self.name} shows encoder `{whole.encoder.name}` {shown} px, but it needs {least} px or more: raise "
                "the task's sizes, or choose another encoder"
            )

    def check_image_size(self, image_size: int) -> None:
        """Raises ValueError where images of this size (px) are too small, or no preset fits them."""

    def shown_px(self, image_size: int) -> int:
        """Height and width of what the encoder is shown of images of this size, px."""
        return view_px(image_size)

    def label_settings(self, image_size: int) -> dict[str, Any] | None:
        """What determines the artifact of `generate_pretext_labels`, or None where the task needs none."""
        if not self.label_fields:
            return None
        return self.at(image_size).model_dump(mode="json", include={"name", *self.label_fields})

    def at(self, image_size: int) -> Self:
        """These options with every null filled from the preset of the image size."""
        nulls = [key for key in type(self).model_fields if getattr(self, key) is None]
        if not nulls:
            return self
        preset = self.preset(image_size)
        return self.model_copy(update={key: preset[key] for key in nulls if key in preset})

    def preset(self, image_size: int) -> dict[str, Any]:
        """Values of the options that are null, for images of this size; asked only where some are.

        Raises:
            ValueError: If there is none for this size.
        """
        return {}


# What the paper's networks see of a 256 px image; other images are seen whole.
VIEWS = {256: 224}
LARGE_PX = 224  # from this size on, heads are as wide as in the papers


def view_px(image_size: int) -> int:
    """Height and width of the view of an image that whole-image tasks see, px."""
    return VIEWS.get(image_size, image_size)


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
GRIDS = {32: 16, 64: 16, 96: 24, 224: 56, 256: 56}  # height and width of colour bins and segments, docs/methods.md 2.8


class PatchGeometry(NamedTuple):
    """Sizes of three patches, px: cut at distances of `near_px` (3x3) or `far_px` (2x2), resized, cropped, masked."""

    patch_px: int
    near_px: int
    far_px: int
    crop_px: int
    resize_px: int
    aperture_px: int
    blur_px: int


PATCHES = {
    32: PatchGeometry(14, 9, 17, 12, 16, 8, 3),
    64: PatchGeometry(28, 17, 33, 24, 32, 16, 3),
    96: PatchGeometry(44, 26, 48, 36, 48, 24, 5),
    224: PatchGeometry(96, 63, 106, 84, 112, 56, 11),
    256: PatchGeometry(110, 72, 121, 96, 128, 64, 13),
}  # docs/methods.md, sections 2.6 and 2.8
# Smaller patches, so that three fit side by side: patch_px, near_px.
SEPARATE_PATCHES = {32: (10, 11), 64: (20, 22), 96: (30, 33), 224: (70, 77), 256: (80, 87)}


def _preset(table: dict[int, Any], image_size: int, what: str) -> Any:
    if image_size not in table:
        sizes = ", ".join(str(size) for size in sorted(table))
        raise ValueError(f"{what} has presets for images of {sizes} px, but these have {image_size} px")
    return table[image_size]


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
        values.update(_preset(PUZZLES, image_size, self.name)._asdict())
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


class RotationOptions(TaskOptions):
    """Rotation: by how many quarter turns was the image turned?"""

    short: ClassVar[str] = "rot"

    name: Literal["rotation"] = "rotation"
    all_turns: bool = Field(
        False, description="Each image in all four rotations in one step, as in the paper; a step costs four times."
    )
    hidden: tuple[int, ...] = Field((), description="Units of the head's hidden layers; (): linear, as in the paper.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the hidden layers.")


class RotationWithClassificationOptions(TaskOptions):
    """Rotation with classification: how do three patches of an image lie, and by how much are they turned?"""

    short: ClassVar[str] = "rwc"

    name: Literal["rwc"] = "rwc"
    overlap: bool = Field(True, description="Neighbours of the 3x3 layout overlap; false: smaller patches, apart.")
    patch_px: int | None = Field(
        None, ge=2, description="Side of a patch, px; null: 14, 28, 44, 96, 110 at 32, 64, 96, 224, 256 px."
    )
    near_px: int | None = Field(
        None, ge=1, description="Distance of neighbours in the 3x3 layout, px; null: 9, 17, 26, 63, 72."
    )
    far_px: int | None = Field(
        None, ge=1, description="Distance of neighbours in the 2x2 layout, px; null: 17, 33, 48, 106, 121."
    )
    crop_px: int | None = Field(None, ge=2, description="Side of the crop that is shown, px; null: 12, 24, 36, 84, 96.")
    resize_px: int | None = Field(
        None, ge=2, description="Before the crop, patches get a size of crop_px to this; null: 16, 32, 48, 112, 128."
    )
    aperture_px: int | None = Field(
        None, ge=1, description="Least side of the square that two patches show; null: 8, 16, 24, 56, 64."
    )
    blur_px: int | None = Field(
        None, ge=1, description="Size of the blur of colours, odd, 1 for none; null: 3, 3, 5, 11, 13."
    )
    patch_hidden: int | None = Field(
        None, ge=1, description="Units of the head's layer that all patches share; null: 128, and 1,024 from 224 px on."
    )
    hidden: tuple[int, ...] | None = Field(
        None, description="Units of the head's joint hidden layers; null: (512), and (1024, 1024) from 224 px on."
    )
    dropout: float | None = Field(
        None, ge=0, lt=1, description="Dropout on the joint hidden layers; null: 0, and 0.5 from 224 px on."
    )

    def preset(self, image_size: int) -> dict[str, Any]:
        large = image_size >= LARGE_PX
        values: dict[str, Any] = {
            "patch_hidden": 1024 if large else 128,
            "hidden": (1024, 1024) if large else (512,),
            "dropout": 0.5 if large else 0.0,
        }
        if all(getattr(self, key) is not None for key in PatchGeometry._fields):
            return values
        values.update(_preset(PATCHES, image_size, self.name)._asdict())
        if not self.overlap:
            values["patch_px"], values["near_px"] = SEPARATE_PATCHES[image_size]
        return values

    def shown_px(self, image_size: int) -> int:
        full = self.at(image_size)
        assert full.crop_px is not None
        return full.crop_px

    def check_image_size(self, image_size: int) -> None:
        full = self.at(image_size)
        patch, near, far, crop, resized, aperture, blur = (getattr(full, key) for key in PatchGeometry._fields)
        if max(2 * near, far) + patch > image_size:
            raise ValueError(
                f"rwc: patches of {patch} px at distances of near_px {near} and far_px {far} do not fit images of "
                f"{image_size} px: lower them"
            )
        if not self.overlap and near < patch:
            raise ValueError(f"rwc: near_px {near} is below patch_px {patch}, so patches overlap: raise it, or overlap")
        if not aperture <= crop <= resized:
            raise ValueError(
                f"rwc: aperture_px {aperture}, crop_px {crop} and resize_px {resized} must not fall in this order"
            )
        if blur % 2 == 0 or blur > image_size:
            raise ValueError(f"rwc: blur_px must be odd and at most the image's {image_size} px, but is {blur}")


class MapTaskOptions(TaskOptions):
    """A task that predicts a map from a convolutional head."""

    hidden: int | None = Field(
        None, ge=1, description="Channels of the head's hidden convolution; null: 128, and 256 from 224 px on."
    )

    def preset(self, image_size: int) -> dict[str, Any]:
        return {"hidden": 256 if image_size >= LARGE_PX else 128}


class GridTaskOptions(MapTaskOptions):
    """A task that predicts on a grid coarser than the image."""

    def grid(self, image_size: int) -> int:
        """Height and width of the predicted map."""
        return int(_preset(GRIDS, image_size, self.name))

    def upsampling(self, image_size: int) -> int:
        """Factor of the head's sub-pixel upsampling; at 224 px z is 7 x 7."""
        return 8 if image_size >= LARGE_PX else 2

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

    @model_validator(mode="after")
    def _some_loss(self) -> "SegmentationOptions":
        if self.cut_weight == 0 and self.reconstruction_weight == 0:
            raise ValueError("cut_weight and reconstruction_weight are both 0: nothing would be learned")
        return self


class ReconstructionOptions(MapTaskOptions):
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

    def upsampling(self, image_size: int) -> int:
        """Factor of the head's sub-pixel upsampling; at 224 px z is 7 x 7."""
        return 8 if image_size >= LARGE_PX else 4

    def map_px(self, image_size: int) -> int:
        """Height and width of the map that the image is predicted on, px."""
        return view_px(image_size) // 4 if image_size >= LARGE_PX else image_size

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


TaskPart = Annotated[TaskOptions, PartOf("task")]
