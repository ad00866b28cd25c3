"""What can be set of transfers of feature maps. Torch-free."""

from typing import Literal

from pydantic import Field

from tessera.transfer.options.base import TransferOptions


class FspOptions(TransferOptions):
    """Flow of solution procedure: Gram matrices across layers (Yim et al. 2017)."""

    name: Literal["fsp"] = "fsp"
    mode: Literal["two_stage", "joint"] = Field(
        "two_stage",
        description="First the Gram matrices, then the labels; or both in one stage: CE + joint_weight * L_FSP.",
    )
    pairs: Literal["across_stage", "within_stage"] = Field(
        "across_stage", description="Outputs of neighbouring stages, or first and last layer of each stage."
    )
    align: Literal["common", "channel_group", "student_conv1x1"] = Field(
        "common", description="How maps of unequal width are made comparable (docs/methods.md 4.2)."
    )
    width: int = Field(64, ge=1, description="Largest common width; `student_conv1x1` keeps the teacher's own.")
    weight: float = Field(1.0, gt=0, description="Weight of the loss in the first stage.")
    joint_weight: float = Field(50.0, gt=0, description="Weight of the loss beside the labels', for mode `joint`.")
    calibration_images: int = Field(2_000, ge=2, description="Target images that set the teacher's axes and scale.")
    images: Literal["all", "labeled"] = Field(
        "all", description="First stage and calibration: every target training image, or only the labelled ones."
    )

    @property
    def two_stage(self) -> bool:
        return self.mode == "two_stage"


class CetlOptions(TransferOptions):
    """Coupled end-to-end transfer learning: source and student share a decoder (a stand-in for Chen et al. 2018)."""

    name: Literal["cetl"] = "cetl"
    weight: float = Field(1.0, ge=0, description="Weight of the three coupled terms together; the labels' has 1.")
    refresh: Literal["epoch", "start"] = Field(
        "epoch", description="When the terms' Fisher weights are estimated: before every epoch, or before the first."
    )
    fisher_batches: int = Field(4, ge=1, description="Batches of 64 images that the Fisher weights are estimated on.")
    width: int = Field(64, ge=8, description="Channels of the aligned maps, the decoder's input.")
    image_px: int = Field(64, ge=8, description="Images are rebuilt at no more than this height and width, px.")
