"""What can be set of a target network."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from tessera.models.encoders.options import EncoderPart
from tessera.parts import PartOf
from tessera.registry import Options

AUGMENTATIONS = {False: "crop_flip", True: "ssd"}  # of images alone, of images with boxes


class NetworkOptions(Options):
    """What the plan asks of every target network.

    Attributes:
        detects: True where it finds objects, so that it wants images with boxes and a protocol that measures boxes.
        trainer: Function that reads a job's inputs and trains it, as `module:function`.
    """

    detects: ClassVar[bool] = False
    trainer: ClassVar[str] = "tessera.transfer.job:train"

    def with_encoder(self, encoder: Options) -> Self:
        """The same, its encoder explicit: its own, or else the one that is given; of one without, itself."""
        return self

    def clashes(self, whole: Any) -> Iterator[str]:
        augmentation, fraction = whole.target.augmentation, whole.target.label_fraction
        own, other = AUGMENTATIONS[self.detects], AUGMENTATIONS[not self.detects]
        if augmentation == other:
            why = "moves no boxes" if self.detects else "is made for boxes"
            yield (
                f"augmentation `{other}` {why}, so network `{self.name}` cannot learn from it: use `{own}` or `none`"
            )
        if self.detects and fraction < 1:
            yield (
                f"label_fraction is {fraction:g}, but network `{self.name}` learns from the boxes of all training "
                "images: leave it at 1"
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


class DetectorOptions(NetworkOptions):
    """What every network that finds objects knows: the encoder under it and the size of its input."""

    detects: ClassVar[bool] = True
    trainer: ClassVar[str] = "tessera.detection.job:train"

    encoder: EncoderPart | None = Field(
        None, description="The encoder it sees with; null: `source.encoder`, which fine-tuning needs."
    )
    image_size: int = Field(300, ge=32, description="Height and width of its input, px.")

    def with_encoder(self, encoder: Options) -> Self:
        return self.model_copy(update={"encoder": encoder}) if self.encoder is None else self


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
