"""What can be set of tasks that predict a map of the image, and which image sizes they can carry."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from tessera.tasks.options.base import LARGE_PX, TaskOptions, preset_of, view_px

GRIDS = {32: 16, 64: 16, 96: 24, 224: 56, 256: 56}  # height and width of colour bins and segments, docs/methods.md 2.8


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
        return int(preset_of(GRIDS, image_size, self.name))

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
    plain_view: ClassVar[bool] = True

    name: Literal["segmentation"] = "segmentation"
    segments: int = Field(20, ge=2, le=64, description="Number of segments K.")
    sigma_intensity: float = Field(10.0, gt=0, description="Scale of intensity differences, levels of 255.")
    sigma_position: float = Field(4.0, gt=0, description="Scale of distances, px of the grid.")
    radius: float = Field(5.0, gt=1, le=16, description="Only pixels nearer than this are compared, px of the grid.")
    cut_weight: float = Field(1.0, ge=0, description="Weight of the normalised cut.")
    reconstruction_weight: float = Field(1.0, ge=0, description="Weight of the squared reconstruction error.")
    divide_by_segments: bool = Field(True, description="Divide the cut by K, to the scale of the other tasks.")
    alternate: bool = Field(False, description="W-Net's two steps: the cut and the reconstruction take turns.")

    def clashes(self, whole: Any) -> Iterator[str]:
        yield from super().clashes(whole)
        if self.alternate and whole.schedule.shared_input:
            yield (
                f"{self.name}.alternate draws a loss for each batch of its own, but schedule.inputs is `shared`: "
                "set alternate to false, or use `own`"
            )

    @model_validator(mode="after")
    def _some_loss(self) -> "SegmentationOptions":
        if self.cut_weight == 0 and self.reconstruction_weight == 0:
            raise ValueError("cut_weight and reconstruction_weight are both 0: nothing would be learned")
        return self


class ReconstructionOptions(MapTaskOptions):
    """Reconstruction: the input image from its features (paper, Eq. 5 and 6)."""

    short: ClassVar[str] = "rcn"
    plain_view: ClassVar[bool] = True
    needs_color: ClassVar[bool] = True

    name: Literal["reconstruction"] = "reconstruction"
    kl: Literal["generalised", "bernoulli", "spatial", "literal"] = Field(
        "generalised", description="Reading of the divergence between images in Eq. 6."
    )
    entropy_weight: float = Field(1e-3, ge=0, description="Lambda of Eq. 6.")
    sparse_weight: float = Field(0.0, ge=0, description="Weight of the sparse autoencoder's term; its notes have 3.")
    sparse_target: float = Field(0.05, gt=0, lt=1, description="Wanted mean activation rho.")
    noise: float = Field(0.0, ge=0, le=1, description="Standard deviation of Gaussian noise on the input, of 1.")

    def clashes(self, whole: Any) -> Iterator[str]:
        yield from super().clashes(whole)
        if self.noise > 0 and whole.schedule.shared_input:
            yield (
                f"{self.name}.noise ({self.noise:g}) is added to inputs of the task's own, but schedule.inputs is "
                "`shared`: set noise to 0, or use `own`"
            )

    def upsampling(self, image_size: int) -> int:
        """Factor of the head's sub-pixel upsampling; at 224 px z is 7 x 7."""
        return 8 if image_size >= LARGE_PX else 4

    def map_px(self, image_size: int) -> int:
        """Height and width of the map that the image is predicted on, px."""
        return view_px(image_size) // 4 if image_size >= LARGE_PX else image_size

    def check_image_size(self, image_size: int) -> None:
        if image_size % 4:
            raise ValueError(f"reconstruction needs an image size divisible by 4, but images have {image_size} px")
