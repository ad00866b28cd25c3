"""What can be set of the embedded dataset of rendered scenes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from tessera.data.datasets.options.base import DatasetOptions, Word
from tessera.data.labels import Kind
from tessera.registry import suggest


class RenderedScenesOptions(DatasetOptions):
    """Spheres, boxes and cylinders in rooms, with a map of classes, depth and normals for each image: embedded."""

    COLUMNS: ClassVar[Mapping[str, Kind]] = MappingProxyType(
        {
            "segmentation": "class_map",
            "shapes": "class_map",
            "foreground": "class_map",
            "instances": "class_map",
            "depth": "depth_map",
            "disparity": "disparity_map",
            "normals": "normal_map",
            "number": "class",
            "largest": "class",
        }
    )
    OF_FRAMES: ClassVar[tuple[str, ...]] = ("sequence", "frame")  # where there are several

    name: Literal["rendered_scenes"] = "rendered_scenes"
    image_size: int = Field(64, ge=16, le=256, description="Height and width, px.")
    num_train: int = Field(1000, ge=12, le=20_000, description="Training images.")
    num_test: int = Field(250, ge=12, le=20_000, description="Test images.")
    frames: int = Field(
        1,
        ge=1,
        le=32,
        description="Images of a scene, which follow one another: camera and solids move steadily. No scene is in both "
        "splits.",
    )
    seed: int = Field(0, ge=0, description="Seed of the scenes.")
    columns: dict[Word, str] | None = Field(
        None,
        min_length=1,
        description="Further names of label columns, as in `{parts: segmentation}`, where this dataset stands in for "
        "another.",
    )

    @model_validator(mode="after")
    def _has_whole_sequences(self) -> Self:
        for key in ("num_train", "num_test"):
            number = getattr(self, key)
            if over := number % self.frames:
                fits = [of for of in (number - over, number - over + self.frames) if of >= 12]
                raise ValueError(
                    f"{key} must be a multiple of frames, but {number} is none of {self.frames}: "
                    f"{' or '.join(map(str, fits))} would do"
                )
        return self

    @model_validator(mode="after")
    def _renames_what_is_there(self) -> Self:
        own = self._own()
        for name, of in (self.columns or {}).items():
            if of not in own:
                why = "only where frames is 2 or more" if of in self.OF_FRAMES else suggest(of, own)
                raise ValueError(f"columns: there is no label column `{of}`. {why[:1].upper()}{why[1:]}")
            if name in ("class", *own):
                raise ValueError(f"columns: `{name}` is a label column already: choose another name")
        return self

    def _own(self) -> dict[str, Kind]:
        of_frames: dict[str, Kind] = dict.fromkeys(self.OF_FRAMES if self.frames > 1 else (), "class")
        return {**self.COLUMNS, **of_frames}

    def pixels(self) -> int:
        return self.image_size

    def label_columns(self) -> dict[str, Kind]:
        own = self._own()
        return own | {name: own[of] for name, of in (self.columns or {}).items()}
