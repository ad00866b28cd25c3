"""What can be set of tasks that learn a map of labels, a value of each pixel."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tessera.data.labels import Kind
from tessera.figures import Figure, shares
from tessera.registry import LATE
from tessera.tasks.options.base import Views
from tessera.tasks.options.labelled import LabelledTaskOptions

Side = Annotated[int, Field(ge=1)]


class DenseTaskOptions(LabelledTaskOptions):
    """A task that predicts a value of each pixel. Pixels and their labels are moved alike."""

    head: Literal["conv", "aspp", "expansion"] = Field(
        "conv",
        description="`conv`: a 3x3 and a 1x1 convolution on the encoder's map (MTAN's SegNet); `aspp`: DeepLabv3's, "
        "for maps of an eighth of the image; `expansion`: four times the map's size by sub-pixel upsampling. What is "
        "predicted is brought to the image's size by bilinear interpolation.",
    )
    hidden: int | None = Field(
        None, ge=1, description="Channels of the head's hidden layers; null: those of the map, and 256 of `aspp`."
    )
    flip: bool = Field(True, description="Whether half of the training images are mirrored.")
    scales: tuple[Annotated[float, Field(ge=1, le=16)], ...] = Field(
        (), description="Of which one is drawn for each training image: so many times it is enlarged; none: as it is."
    )
    crop: tuple[Side, Side] | None = Field(
        None, description="Height and width of the window that training sees of an image, px; null: all of it."
    )

    @property
    def views(self) -> Views:
        return Views(self.flip, self.scales, self.crop, framed=False)

    def shown_px(self, image_size: int) -> int:
        return image_size if self.crop is None else min(self.crop)

    def clashes(self, whole: Any) -> Iterator[str]:
        yield from super().clashes(whole)
        height, width = whole.dataset.shape()
        if self.crop is not None and (self.crop[0] > height or self.crop[1] > width):
            yield (
                f"{self.name}.crop: a window of {self.crop[0]} x {self.crop[1]} px does not fit images of {height} x "
                f"{width} px: make it smaller, or leave it out"
            )


class SemanticSegmentationOptions(DenseTaskOptions):
    """Semantic segmentation: which class has each pixel?"""

    short: ClassVar[str] = "sem"
    reads: ClassVar[Kind] = "class_map"
    figures: ClassVar[tuple[Figure, ...]] = shares("mean_iou", "pixel_accuracy")

    name: Literal["semantic_segmentation"] = "semantic_segmentation"
    labels: Annotated[str, LATE] = Field(
        "segmentation", min_length=1, description="Column of the dataset's labels that is learned."
    )


class DistanceOptions(DenseTaskOptions):
    """A task that predicts a positive number for each pixel, by regression."""

    loss: Literal["l1", "berhu"] = Field(
        "l1",
        description="`l1`: the absolute error; `berhu`: quadratic beyond a fifth of a batch's largest error (Laina et "
        "al. 2016).",
    )
    target: Literal["value", "reciprocal"] = Field(
        "value",
        description="What the head predicts: the value D itself, or 2 / (D + 2), as in the thesis that MTAN is from. "
        "Figures are of D.",
    )


class DepthOptions(DistanceOptions):
    """Depth: how far away is what each pixel shows?"""

    short: ClassVar[str] = "dep"
    reads: ClassVar[Kind] = "depth_map"
    figures: ClassVar[tuple[Figure, ...]] = (
        Figure(name="absolute_error", unit="m", lower_is_better=True),
        Figure(name="relative_error", unit="%", lower_is_better=True),
    )

    name: Literal["depth"] = "depth"
    labels: Annotated[str, LATE] = Field(
        "depth", min_length=1, description="Column of the dataset's labels that is learned."
    )


class DisparityOptions(DistanceOptions):
    """Disparity, or inverse depth: how near is what each pixel shows?"""

    short: ClassVar[str] = "dis"
    reads: ClassVar[Kind] = "disparity_map"
    figures: ClassVar[tuple[Figure, ...]] = (
        Figure(name="absolute_error", lower_is_better=True),
        Figure(name="relative_error", unit="%", lower_is_better=True),
    )

    name: Literal["disparity"] = "disparity"
    labels: Annotated[str, LATE] = Field(
        "disparity", min_length=1, description="Column of the dataset's labels that is learned."
    )


class NormalsOptions(DenseTaskOptions):
    """Surface normals: which way does what each pixel shows face?"""

    short: ClassVar[str] = "nor"
    reads: ClassVar[Kind] = "normal_map"
    figures: ClassVar[tuple[Figure, ...]] = (
        *(Figure(name=name, unit="°", lower_is_better=True) for name in ("mean_angle", "median_angle")),
        *shares("within_11_25", "within_22_5", "within_30"),
    )

    name: Literal["normals"] = "normals"
    labels: Annotated[str, LATE] = Field(
        "normals", min_length=1, description="Column of the dataset's labels that is learned."
    )
    loss: Literal["cosine", "l1"] = Field(
        "cosine",
        description="Between unit vectors: `cosine`: one minus their inner product; `l1`: the mean absolute difference "
        "of their coordinates.",
    )
