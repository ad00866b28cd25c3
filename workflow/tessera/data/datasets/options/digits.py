"""What can be set of the embedded datasets of handwritten digits."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tessera.data.datasets.options.base import DatasetOptions, Word
from tessera.data.labels import Kind
from tessera.registry import LATE, suggest


class DigitsMOptions(DatasetOptions):
    """Handwritten digits blended over photographs: embedded, nothing to download."""

    COLUMNS: ClassVar[tuple[str, ...]] = ("digit", "photograph", "zoom", "group")

    name: Literal["digits_m"] = "digits_m"
    image_size: int = Field(32, ge=16, le=40, description="Height and width, px.")
    copies: int = Field(4, ge=1, le=32, description="Blends made of each handwritten digit, each over another crop.")
    test_fraction: float = Field(0.3, gt=0, lt=1, description="Share of the handwritten digits kept for testing.")
    seed: int = Field(0, ge=0, description="Seed of the blends and of the split.")
    columns: Annotated[dict[Word, str] | None, LATE] = Field(
        None,
        min_length=1,
        description="Further names of label columns, as in `{age: digit}`, where this dataset stands in for another.",
    )

    @model_validator(mode="after")
    def _renames_what_is_there(self) -> Self:
        for name, of in (self.columns or {}).items():
            if of not in self.COLUMNS:
                raise ValueError(f"columns: there is no label column `{of}`. {suggest(of, self.COLUMNS)}")
            if name in ("class", *self.COLUMNS):
                raise ValueError(f"columns: `{name}` is a label column already: choose another name")
        return self

    def pixels(self) -> int:
        return self.image_size

    def label_columns(self) -> dict[str, Kind]:
        return dict.fromkeys(("class", *self.COLUMNS, *(self.columns or ())), "class")


class DigitsScenesOptions(DatasetOptions):
    """Handwritten digits of many sizes on photographs, marked by boxes: embedded, nothing to download."""

    name: Literal["digits_scenes"] = "digits_scenes"
    image_size: int = Field(128, ge=64, le=512, description="Height and width, px.")
    num_train: int = Field(1000, ge=1, le=100_000, description="Training images.")
    num_test: int = Field(200, ge=1, le=100_000, description="Test images.")
    seed: int = Field(0, ge=0, description="Seed of the scenes and of the digits that are kept for testing.")

    def label_columns(self) -> dict[str, Kind]:
        return {"objects": "boxes"}

    def pixels(self) -> int:
        return self.image_size

    def packs(self) -> bool:
        return True
