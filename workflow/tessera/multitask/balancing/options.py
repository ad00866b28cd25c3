"""What can be set of the way losses or gradients are weighed."""

from typing import Annotated, Literal

from pydantic import Field

from tessera.parts import PartOf
from tessera.registry import Options


class EqualOptions(Options):
    """Every loss has weight one (paper, Eq. 4)."""

    name: Literal["equal"] = "equal"
    average: bool = Field(False, description="Divide the sum of a step's losses by their number.")


BalancingPart = Annotated[Options, PartOf("balancing")]
