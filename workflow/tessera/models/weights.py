"""What can be said of a file of weights. Torch-free: read while a plan is made."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tessera.registry import Checked

ENDINGS = (".safetensors", ".pt", ".pth", ".pth.tar", ".bin", ".ckpt")

Channels = tuple[float, float, float]  # red, green, blue, in units of [0, 1]
IMAGENET: tuple[Channels, Channels] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Weights(Checked):
    """A file of weights, of torchvision, of timm, of other code or of Tessera, that an encoder takes over."""

    file: str = Field(
        "",
        max_length=1000,
        description="The file, relative to the project's folder: safetensors, or a state dict that torch saved "
        f"({', '.join(ENDINGS)}). Nothing in it is executed.",
    )
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="Checksum that the file must have; null: the one it has."
    )
    prefix: str | None = Field(
        None,
        max_length=200,
        description="What stands before the encoder's names in the file, such as `module.encoder_q.`; null: `module.`, "
        "`encoder.`, `backbone.` or `model.`, one within another too, where they stand there.",
    )
    normalization: Literal["imagenet", "dataset"] | None = Field(
        None,
        description="How images were normalised when the weights were trained: by mean and deviation of ImageNet, or "
        "of `source.dataset`; null: by `mean` and `std`, else as the file says (Tessera's own), as timm says of its "
        "model, or `imagenet`.",
    )
    mean: Channels | None = Field(None, description="Taken off red, green and blue, in units of [0, 1].")
    std: Channels | None = Field(None, description="What red, green and blue are divided by after that.")
    classifier: bool = Field(
        False,
        description="Keep the linear layer in the file as the source's classifier: its classes must be those of "
        "`source.dataset`, in the same order.",
    )

    @field_validator("file")
    @classmethod
    def _is_named(cls, file: str) -> str:
        if not file:
            raise ValueError("should name a file of weights, as in `source.weights: weights/resnet18.pth`")
        if not file.endswith(ENDINGS):
            raise ValueError(f"should be a file of weights, which ends with {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
        return file

    @field_validator("std")
    @classmethod
    def _divides(cls, std: Channels | None) -> Channels | None:
        if std is not None and min(std) <= 0:
            raise ValueError("should be above 0")
        return std

    @model_validator(mode="after")
    def _says_it_once(self) -> "Weights":
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together: give both, or leave both out")
        if self.mean is not None and self.normalization is not None:
            raise ValueError(f"normalization is `{self.normalization}`, but mean and std are given: leave one out")
        return self

    def path(self, root: Path) -> Path:
        """Where the file is."""
        return root / Path(self.file).expanduser()


def _file(value: Any) -> Any:
    """`weights/resnet18.pth` means `{file: weights/resnet18.pth}`."""
    return {"file": value} if isinstance(value, str) else value


WeightsField = Annotated[Weights | None, BeforeValidator(_file, json_schema_input_type=str | Weights | None)]
