"""What can be set of the order in which tasks take steps."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tessera.parts import PartOf
from tessera.registry import Options


class ScheduleOptions(Options):
    """What every schedule shares.

    Attributes:
        branching: Has each task a stretch of its own in an epoch: `parallel`, beside the others; `chained`, after
            them; or `none`?
    """

    branching: ClassVar[Literal["parallel", "chained", "none"]] = "none"

    iterations_scope: Literal["total", "per_task"] = Field(
        "total",
        description="Are `source.iterations` batches an epoch those of all tasks together (a remainder is dropped), "
        "or of each task?",
    )

    def clashes(self, whole: Any) -> Iterator[str]:
        if self.branching == "parallel" and len(whole.tasks) > 1 and not whole.fusion.merges:
            yield f"schedule `{self.name}` throws all but one branch away without a fusion: name one"


class TurnOptions(ScheduleOptions):
    """A schedule in which each task has a turn of its own in an epoch."""

    order: Literal["shuffled", "fixed"] = Field("shuffled", description="Order of the tasks within an epoch.")
    reset_optimizer: bool = Field(True, description="Fresh momentum at each turn (docs/methods.md 1.7).")


class BranchesOptions(TurnOptions):
    """Each task starts the epoch from the fused weights; fusion merges the branches."""

    branching: ClassVar[Literal["parallel", "chained", "none"]] = "parallel"

    name: Literal["branches"] = "branches"


class SequentialOptions(TurnOptions):
    """Each task goes on from the weights that the one before it left."""

    branching: ClassVar[Literal["parallel", "chained", "none"]] = "chained"

    name: Literal["sequential"] = "sequential"


class RoundRobinOptions(ScheduleOptions):
    """One task a step, in turn."""

    name: Literal["round_robin"] = "round_robin"
    order: Literal["cyclic", "random"] = Field(
        "cyclic", description="The tasks one after the other, or in random order, each as often as the others."
    )


class JointOptions(ScheduleOptions):
    """Every task in every step; balancing puts their gradients together."""

    name: Literal["joint"] = "joint"


SchedulePart = Annotated[ScheduleOptions, PartOf("schedule")]
