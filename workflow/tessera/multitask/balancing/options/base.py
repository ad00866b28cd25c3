"""What every balancing, and every one that compares gradients, can be told."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tessera.parts import PartOf
from tessera.registry import Options

Compares = Literal["nothing", "all", "last_layer"]


class BalancingOptions(Options):
    """What the plan asks of every balancing.

    Attributes:
        compares: Which gradients it compares: none, so that it weighs losses; those of `all` shared parameters, or of
            their `last_layer`.
        looks_ahead: Whether it is told of each step before its gradients are made.
    """

    compares: ClassVar[Compares] = "nothing"
    looks_ahead: ClassVar[bool] = False

    @property
    def compares_map(self) -> bool:
        """Whether it compares gradients of the encoder's map, instead of those of parameters."""
        return False


class ComparingOptions(BalancingOptions):
    """What balancings share that compare gradients."""

    compares: ClassVar[Compares] = "all"

    of: Literal["parameters", "features"] = Field(
        "parameters",
        description="Compare gradients of the shared parameters, or of the encoder's map, which costs one pass back "
        "through the encoder (with `schedule.inputs: shared`).",
    )

    @property
    def compares_map(self) -> bool:
        return self.of == "features"

    def clashes(self, whole: Any) -> Iterator[str]:
        if len(whole.tasks) < 2 or self.compares == "nothing":
            return
        if not whole.schedule.several_tasks:
            yield (
                f"balancing `{self.name}` compares the gradients of a step's tasks, but schedule "
                f"`{whole.schedule.name}` takes one task a step: use `joint`"
            )
        elif self.compares_map and not whole.schedule.shared_input:
            yield (
                f"balancing `{self.name}` compares gradients of one map of the encoder (`of: features`), but each task "
                "has inputs of its own: set schedule.inputs to `shared`, or balancing.of to `parameters`"
            )
        elif self.compares_map and not whole.sharing.one_map:
            yield (
                f"balancing `{self.name}` compares gradients of one map of the encoder (`of: features`), but sharing "
                f"`{whole.sharing.name}` gives the heads several: use `hard`, or set balancing.of to `parameters`"
            )


BalancingPart = Annotated[BalancingOptions, PartOf("balancing")]
