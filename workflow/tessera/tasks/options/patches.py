"""What can be set of tasks that turn the image or patches of it, and which image sizes they can carry."""

from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from tessera.tasks.options.base import LARGE_PX, TaskOptions, preset_of


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
        values.update(preset_of(PATCHES, image_size, self.name)._asdict())
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
