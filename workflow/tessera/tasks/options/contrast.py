"""What can be set of tasks that tell the views of an image from those of other images."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tessera.tasks.options.base import LARGE_PX, TaskOptions


class SimCLROptions(TaskOptions):
    """Contrast: which of the other views in the batch is of the same image?"""

    short: ClassVar[str] = "clr"

    name: Literal["simclr"] = "simclr"
    temperature: float | None = Field(
        None, gt=0, description="Similarities, -1 to 1, are divided by it; null: 0.5, and 0.1 from 224 px on."
    )
    hidden: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        None, description="Units of the projection head's hidden layers; null: (512), and (2048) from 224 px on."
    )
    dim: int = Field(128, ge=2, description="Numbers of the vector that an image is projected to.")
    batch_norm: bool = Field(
        False, description="Batch normalisation after each layer of the head, as in the authors' code."
    )
    least_area: float = Field(
        0.08, gt=0, le=1, description="A crop shows at least this share of the image's area, at most all of it."
    )
    flip: bool = Field(True, description="Whether half of the crops are mirrored.")
    color: float | None = Field(
        None,
        ge=0,
        le=2.5,
        description="Strength s of the colour jitter: brightness, contrast and saturation change by up to 0.8 s, the "
        "hue by up to 0.2 s of the circle; null: 0.5, and 1 from 224 px on.",
    )
    jitter: float = Field(0.8, ge=0, le=1, description="Probability that the colours of a view are jittered.")
    gray: float = Field(0.2, ge=0, le=1, description="Probability that a view is shown in gray.")
    blur: float | None = Field(
        None, ge=0, le=1, description="Probability that a view is blurred; null: 0, and 0.5 from 224 px on."
    )

    def preset(self, image_size: int) -> dict[str, Any]:
        large = image_size >= LARGE_PX
        return {
            "temperature": 0.1 if large else 0.5,
            "hidden": (2048,) if large else (512,),
            "color": 1.0 if large else 0.5,
            "blur": 0.5 if large else 0.0,
        }
