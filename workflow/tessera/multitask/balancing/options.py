"""What can be set of the way losses or gradients are weighed."""

from typing import Literal

from tessera.registry import Options


class EqualOptions(Options):
    """Every loss has weight one (paper, Eq. 4)."""

    name: Literal["equal"] = "equal"
