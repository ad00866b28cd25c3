"""What can be set of a target network."""

from typing import Literal

from pydantic import Field

from tessera.registry import Options


class ReducedAlexNetOptions(Options):
    """Five convolutions and three fully connected layers, all kernels 3x3."""

    name: Literal["reduced_alexnet"] = "reduced_alexnet"
    width: Literal["half_quarter", "quarter"] = Field(
        "half_quarter", description="Channels: 48-128-192-192-128, or 24-64-96-96-64."
    )
    hidden: int = Field(1024, ge=1, description="Units of each of the two hidden fully connected layers.")
    dropout: float = Field(0.5, ge=0, lt=1, description="Dropout on the two hidden layers.")
    batch_norm: bool = Field(True, description="Batch normalisation after each convolution; the paper has none.")
