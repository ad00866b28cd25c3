"""What can be set of a target network."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from tessera.data.labels import Kind
from tessera.models.encoders.options import EncoderOptions, EncoderPart
from tessera.parts import PartOf
from tessera.registry import Options, choices

Augmentation = Literal["none", "crop_flip", "ssd"]


class NetworkOptions(Options):
    """What the plan asks of every target network.

    Attributes:
        answers: Kind of labels that it predicts, and so those that its images and its protocol must have.
        trainer: Function that reads a job's inputs and trains it, as `module:function`.
        augmentation: What it is shown of its images where a study does not say.
        several_gpus: True where the trainer shares a batch among all GPUs of a job.
        one_stage: True where no method teaches it in two stages, so that none is to be made up for.
        any_shape: True where the sides of images may differ.
    """

    answers: ClassVar[Kind] = "class"
    trainer: ClassVar[str] = "tessera.transfer.job:train"
    augmentation: ClassVar[Augmentation] = "crop_flip"
    several_gpus: ClassVar[bool] = False
    one_stage: ClassVar[bool] = False
    any_shape: ClassVar[bool] = False

    def with_encoder(self, encoder: Options) -> Self:
        """The same, its encoder explicit: its own, or else the one that is given; of one without, itself."""
        return self

    def clashes(self, whole: Any) -> Iterator[str]:
        height, width = whole.target.dataset.shape()
        if height != width and not self.any_shape and whole.target.protocol.measures == "network":
            yield (
                f"network `{self.name}` needs square images, but those of dataset `{whole.target.dataset.name}` have "
                f"{height} x {width} px: prepare square ones, or set target.network to "
                f"{choices('network', lambda options: options.any_shape)}"
            )
        asked = whole.target.augmentation
        if asked not in (None, "none", self.augmentation):
            why = "is made for boxes" if asked == "ssd" else "moves no boxes"
            yield (
                f"augmentation `{asked}` {why}, so network `{self.name}` cannot learn from it: use "
                f"`{self.augmentation}` or `none`"
            )


class ReducedAlexNetOptions(NetworkOptions):
    """Five convolutions and three fully connected layers, all kernels 3x3."""

    name: Literal["reduced_alexnet"] = "reduced_alexnet"
    width: Literal["half_quarter", "quarter"] = Field(
        "half_quarter", description="Channels: 48-128-192-192-128, or 24-64-96-96-64."
    )
    hidden: int = Field(1024, ge=1, description="Units of each of the two hidden fully connected layers.")
    dropout: float = Field(0.5, ge=0, lt=1, description="Dropout on the two hidden layers.")
    batch_norm: bool = Field(True, description="Batch normalisation after each convolution; the paper has none.")


class OnEncoderOptions(NetworkOptions):
    """What every network on top of an encoder knows. Its class takes options, encoder and `num_classes`."""

    encoder: EncoderPart | None = Field(
        None, description="The encoder it sees with; null: `source.encoder`, which fine-tuning needs."
    )

    def with_encoder(self, encoder: Options) -> Self:
        return self.model_copy(update={"encoder": encoder}) if self.encoder is None else self


class ClassifierOptions(OnEncoderOptions):
    """Any encoder, its last map averaged, then one linear layer or a few."""

    any_shape: ClassVar[bool] = True

    name: Literal["classifier"] = "classifier"
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="Units of hidden layers with ReLU; none: one linear layer."
    )


class DetectorOptions(OnEncoderOptions):
    """What every network that finds objects knows: the encoder under it and the size of its input."""

    answers: ClassVar[Kind] = "boxes"
    trainer: ClassVar[str] = "tessera.detection.job:train"
    augmentation: ClassVar[Augmentation] = "ssd"
    several_gpus: ClassVar[bool] = True
    one_stage: ClassVar[bool] = True

    image_size: int = Field(300, ge=32, description="Height and width of its input, px.")

    def clashes(self, whole: Any) -> Iterator[str]:
        yield from super().clashes(whole)
        if whole.target.label_fraction < 1:
            yield (
                f"label_fraction is {whole.target.label_fraction:g}, but network `{self.name}` learns from the boxes "
                "of all training images: leave it at 1"
            )
        encoder = self.encoder or whole.source.encoder
        if isinstance(encoder, EncoderOptions) and not encoder.narrows:
            yield (
                f"network `{self.name}` reads ever smaller maps, but encoder `{encoder.name}` ends with large ones, "
                "which would learn nothing: choose another encoder"
            )


class SSD300Options(DetectorOptions):
    """SSD: boxes and classes from maps of 38, 19, 10, 5, 3 and 1 cells a side; of a smaller input, from fewer."""

    name: Literal["ssd300"] = "ssd300"
    score_threshold: float = Field(0.01, ge=0, lt=1, description="A box is dropped unless its score is greater.")
    nms_iou: float = Field(
        0.45, gt=0, le=1, description="Of two boxes of a class with a greater IoU, the better one stays."
    )
    topk_candidates: int = Field(400, ge=1, description="Best boxes of each class that are compared so.")
    detections_per_image: int = Field(200, ge=1, description="Best boxes of an image that are kept.")


NetworkPart = Annotated[NetworkOptions, PartOf("network")]
