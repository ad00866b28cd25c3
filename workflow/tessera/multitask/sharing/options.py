"""What can be set of the way tasks share the encoder."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from tessera.errors import brief
from tessera.models.encoders.options import EncoderOptions
from tessera.parts import PartOf
from tessera.registry import LATE, Options, suggest


class SharingOptions(Options):
    """What the plan asks of every way of sharing.

    Attributes:
        heads_read_z: True where each head reads the encoder's last map itself.
        one_map: True where all that the heads read is made of one map of the encoder.
        one_encoder: True where all tasks see through the same encoder.
    """

    heads_read_z: ClassVar[bool] = True
    one_map: ClassVar[bool] = True
    one_encoder: ClassVar[bool] = True

    def clashes(self, whole: Any) -> Iterator[str]:
        if self.one_encoder:
            return
        if whole.fusion.merges:
            yield (
                f"sharing `{self.name}` has an encoder for each task, but fusion `{whole.fusion.name}` makes one of "
                "those of the tasks' turns: set fusion to `none`"
            )
        if whole.regularizer.needs_earlier:
            yield (
                f"sharing `{self.name}` has an encoder for each task, but regularizer `{whole.regularizer.name}` "
                "compares with one earlier encoder: set regularizer.anchor to another, or regularizer to `none`"
            )


class HardSharingOptions(SharingOptions):
    """Hard sharing: one encoder for all tasks, one head a task."""

    name: Literal["hard"] = "hard"


class LassoSharingOptions(SharingOptions):
    """Each head reads its own mixture of the last block's units, of unit length, sparse by an L1 penalty (MSVL)."""

    heads_read_z: ClassVar[bool] = False
    one_map: ClassVar[bool] = False

    name: Literal["lasso"] = "lasso"
    weight: float = Field(1e-3, ge=0, description="Weight of the L1 penalty on a task's normalised row.")
    lr_factor: float = Field(10.0, gt=0, description="Factor on the learning rate of the rows.")
    unit_length: Annotated[bool, LATE] = Field(
        True, description="Keep a task's row at length 1 (the paper); false: rows are free, from that length on."
    )


class ExportingOptions(SharingOptions):
    """What ways of sharing have in common of which one task's encoder is handed on."""

    heads_read_z: ClassVar[bool] = False
    one_map: ClassVar[bool] = False

    export: str | None = Field(
        None, description="The task whose encoder transfer and evaluation are given; null: the first."
    )

    def clashes(self, whole: Any) -> Iterator[str]:
        yield from super().clashes(whole)
        tasks = [task.key for task in whole.tasks]
        if self.export is not None and tasks and self.export not in tasks:
            yield f"sharing.export is `{brief(self.export)}`, which is no task. {suggest(self.export, tasks)}"


class CrossStitchSharingOptions(ExportingOptions):
    """An encoder for each task; after every stage their maps are mixed by learned units, one value a channel."""

    one_encoder: ClassVar[bool] = False

    name: Literal["cross_stitch"] = "cross_stitch"
    own: float = Field(
        0.9, ge=0, le=1, description="What a unit starts with for the task's own map; the others share the rest."
    )
    lr_factor: float = Field(
        100.0,
        gt=0,
        description="Factor on the learning rate of the units: 100 to 1000 in the paper, whose rates are small; at "
        "rates of 0.05 and more units jump about, so try 10.",
    )


class MtanSharingOptions(SharingOptions):
    """One encoder, and for each task attention to its maps: the masks of a block are made of the block before, too."""

    heads_read_z: ClassVar[bool] = False
    one_map: ClassVar[bool] = False

    name: Literal["mtan"] = "mtan"
    residual: bool = Field(
        False, description="Multiply maps by mask + 1 (the thesis, Liu 2018) instead of the mask (the paper, Liu 2019)."
    )
    kernel: Literal[1, 3] = Field(
        1, description="Kernel of a module's first convolution: 1 in the paper, 3 in the thesis."
    )
    transitions: Literal["shared", "own"] = Field(
        "shared",
        description="Convolutions from block to block: one for all tasks (the paper), or each task's own (the thesis).",
    )


class ModelPatchSharingOptions(ExportingOptions):
    """One encoder, of which each task has its own batch norms, or depthwise convolutions between the stages."""

    name: Literal["model_patch"] = "model_patch"
    kind: Literal["batch_norm", "depthwise"] = Field(
        "batch_norm",
        description="Scale, shift and statistics of all batch norms, or a depthwise 3x3 convolution after each stage.",
    )

    def clashes(self, whole: Any) -> Iterator[str]:
        yield from super().clashes(whole)
        encoder = whole.encoder
        if self.kind == "batch_norm" and isinstance(encoder, EncoderOptions) and not encoder.has_batch_norm:
            yield (
                f"sharing.kind is `batch_norm`, but encoder `{encoder.name}` has no batch norm as it is set: set kind "
                "to `depthwise`, or choose another encoder"
            )

    @model_validator(mode="after")
    def _exports_what_fits(self) -> "ModelPatchSharingOptions":
        if self.kind == "depthwise" and self.export is not None:
            raise ValueError(
                "export: goes with kind: batch_norm alone, for depthwise convolutions have no place in the encoder, "
                "which is handed on without them: leave export out"
            )
        return self


SharingPart = Annotated[SharingOptions, PartOf("sharing")]
