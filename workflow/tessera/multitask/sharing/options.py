"""What can be set of the way tasks share the encoder."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tessera.parts import PartOf
from tessera.registry import Options


class SharingOptions(Options):
    """What the plan asks of every way of sharing.

    Attributes:
        heads_read_z: True where each head reads the encoder's last map itself.
        one_map: True where all that the heads read is made of one map of the encoder.
    """

    heads_read_z: ClassVar[bool] = True
    one_map: ClassVar[bool] = True


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


SharingPart = Annotated[SharingOptions, PartOf("sharing")]
