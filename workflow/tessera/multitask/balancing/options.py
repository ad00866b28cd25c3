"""What can be set of the way losses or gradients are weighed."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tessera.parts import PartOf
from tessera.registry import Options


class BalancingOptions(Options):
    """What the plan asks of every balancing.

    Attributes:
        compares: Which gradients it compares: none, so that it weighs losses; those of `all` shared parameters, or of
            their `last_layer`.
    """

    compares: ClassVar[Literal["nothing", "all", "last_layer"]] = "nothing"

    @property
    def compares_map(self) -> bool:
        """Whether it compares gradients of the encoder's map, instead of those of parameters."""
        return False


class ComparingOptions(BalancingOptions):
    """What balancings share that compare gradients."""

    compares: ClassVar[Literal["nothing", "all", "last_layer"]] = "all"

    of: Literal["parameters", "features"] = Field(
        "parameters",
        description="Compare gradients of the shared parameters, or of the encoder's map, which costs one pass back "
        "through the encoder (with `schedule.inputs: shared`).",
    )

    @property
    def compares_map(self) -> bool:
        return self.of == "features"

    def clashes(self, whole: Any) -> Iterator[str]:
        if len(whole.tasks) < 2:
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


class EqualOptions(BalancingOptions):
    """Every loss has weight one (paper, Eq. 4)."""

    name: Literal["equal"] = "equal"
    average: bool = Field(False, description="Divide the sum of a step's losses by their number.")


class UncertaintyOptions(BalancingOptions):
    """Each loss is weighed by a noise of its task, learned with the network."""

    name: Literal["uncertainty"] = "uncertainty"
    start: float = Field(-0.5, ge=-20, le=20, description="First log sigma^2 of every task; 0: weights of a half.")
    lr_factor: float = Field(1.0, gt=0, le=1000, description="Factor on the learning rate of the noises.")


class DwaOptions(BalancingOptions):
    """Losses that fall slowly count for more, by the ratio of the last two epochs' means."""

    name: Literal["dwa"] = "dwa"
    temperature: float = Field(2.0, gt=0, description="T: the higher, the more equal; 2 in the paper.")


BalancingPart = Annotated[BalancingOptions, PartOf("balancing")]
