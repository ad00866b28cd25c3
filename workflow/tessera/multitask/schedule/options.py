"""What can be set of the order in which tasks take steps."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tessera.parts import PartOf
from tessera.registry import LATE, Options


class ScheduleOptions(Options):
    """What every schedule shares.

    Attributes:
        branching: Has each task a stretch of its own in an epoch: `parallel`, beside the others; `chained`, after
            them; or `none`?
        several_tasks: Whether a step takes several tasks, so that their gradients can be compared.
    """

    branching: ClassVar[Literal["parallel", "chained", "none"]] = "none"
    several_tasks: ClassVar[bool] = False

    @property
    def shared_input(self) -> bool:
        """Whether all tasks of a step see the same batch of views."""
        return False

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

    several_tasks: ClassVar[bool] = True

    name: Literal["joint"] = "joint"
    inputs: Annotated[Literal["own", "shared"], LATE] = Field(
        "own",
        description="A batch of its own for each task, or one batch of views, which the encoder sees once, for all: an "
        "epoch then has `source.iterations` such batches. Tasks that make their inputs themselves need their own.",
    )

    @property
    def shared_input(self) -> bool:
        return self.inputs == "shared"

    def clashes(self, whole: Any) -> Iterator[str]:
        yield from super().clashes(whole)
        if not self.shared_input:
            return
        for task in whole.tasks:
            if not task.plain_view:
                yield (
                    f"schedule.inputs is `shared`, but task `{task.name}` makes inputs of its own, which other tasks "
                    "cannot see: use `own`, or leave the task out"
                )
        particular = [task for task in whole.tasks if task.views is not None]
        for task in particular[1:]:
            if task.views != particular[0].views:
                yield (
                    f"schedule.inputs is `shared`, but task `{task.name}` asks for other views of the images than "
                    f"`{particular[0].name}`: give both the same flip, scales and crop, or use `own`"
                )
        if whole.harmonize:
            yield "schedule.inputs is `shared`, so all tasks see the same colours: set source.harmonize to false"


SchedulePart = Annotated[ScheduleOptions, PartOf("schedule")]
