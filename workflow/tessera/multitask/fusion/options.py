"""What can be set of the way the tasks' weights become one encoder."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from tessera.parts import PartOf
from tessera.registry import Options


class FusionOptions(Options):
    """What the plan asks of every fusion.

    Attributes:
        merges: True where it makes one encoder of several branches.
        needs_turns: True where it compares the weights that each task's own turn left.
    """

    merges: ClassVar[bool] = True
    needs_turns: ClassVar[bool] = False

    def clashes(self, whole: Any) -> Iterator[str]:
        if self.needs_turns and whole.tasks and whole.schedule.branching == "none":
            yield (
                f"fusion `{self.name}` needs weights of each task's own turn, which schedule `{whole.schedule.name}` "
                "has not: use `branches` or `sequential`"
            )


class NoFusionOptions(FusionOptions):
    """The last weights are the encoder's."""

    merges: ClassVar[bool] = False

    name: Literal["none"] = "none"


class WindowOptions(FusionOptions):
    """What fusions with a window over epochs share."""

    window: int = Field(5, ge=1, description="The exported encoder is the mean of this many last fused ones (Eq. 10).")
    window_feedback: bool = Field(False, description="Each epoch starts from that mean instead of the last fusion.")


class AverageOptions(WindowOptions):
    """Plain mean of the tasks' weights."""

    name: Literal["average"] = "average"


class TteOptions(WindowOptions):
    """Temporal task ensemble: temporal and task gradients of chosen layers, weighed by progress (paper, 3.3)."""

    needs_turns: ClassVar[bool] = True

    name: Literal["tte"] = "tte"
    delta: Literal["signed", "literal", "norm_equalised"] = Field(
        "signed", description="Reading of Eq. 7 to 9; `literal` adds magnitudes and diverges unless scaled down."
    )
    sequential_delta: Literal["cumulative", "own"] = Field(
        "own",
        description="Under `sequential`: change since the task's own start, or since the epoch's start. `cumulative` "
        "counts earlier tasks' changes again.",
    )
    layers: Literal["conv_before_pool", "stage_last", "all_conv", "all"] = Field(
        "conv_before_pool", description="Layers that are fused (paper: the convolution before a pooling)."
    )
    rest: Literal["mean", "last"] = Field("mean", description="All other tensors: mean of the branches, or the last.")
    scale_rest: bool = Field(
        True,
        description="`alpha_total` also scales how far the parameters beside the fused layers move, where `rest` is "
        "`mean`. `false` goes with `alpha_total: 1` or `layers: all` alone: else fused layers move out of step.",
    )
    alpha: Literal["dwa", "uniform", "inv_ratio", "fixed"] = Field(
        "dwa", description="Weights of the temporal gradients."
    )
    alpha_values: tuple[float, ...] | None = Field(
        None, description="`fixed`: one weight a task, in the order of `tasks`; scaled to the sum `alpha_total`."
    )
    alpha_tau: float = Field(0.5, gt=0, description="Temperature of `dwa`.")
    alpha_gamma: float = Field(0.0, ge=0, le=1, description="Power with which a task's impact lowers its weight.")
    alpha_total: float | None = Field(
        None,
        gt=0,
        description="Sum of the weights; null: the number of tasks, so that an epoch moves the encoder as far as its "
        "tasks do together. 1: a weighted mean of the branches.",
    )
    task_gradient: bool = Field(True, description="Add the task gradient (Table 5's column beta).")
    beta0: float = Field(0.1, ge=0, le=1, description="Largest weight of the task gradient.")
    literal_scale: float = Field(1e-3, gt=0, description="Factor on both sums of `literal`.")

    def clashes(self, whole: Any) -> Iterator[str]:
        yield from super().clashes(whole)
        if whole.tasks and whole.schedule.branching == "parallel" and self.rest == "last":
            yield "fusion.rest `last` throws all but one branch away where tasks branch: use `mean`"
        if whole.tasks and self.alpha_values is not None and len(self.alpha_values) != len(whole.tasks):
            yield f"fusion.alpha_values has {len(self.alpha_values)} values for {len(whole.tasks)} tasks"

    def total(self, num_tasks: int) -> float:
        """The sum of the weights."""
        return float(num_tasks) if self.alpha_total is None else self.alpha_total

    @model_validator(mode="after")
    def _moves_in_step(self) -> "TteOptions":
        if not self.scale_rest and self.alpha_total != 1.0 and self.rest == "mean" and self.layers != "all":
            total = "null, the number of tasks" if self.alpha_total is None else f"{self.alpha_total:g}"
            raise ValueError(
                f"scale_rest: false with alpha_total {total}: the fused layers would move further than the rest. "
                "Set alpha_total: 1, or layers: all, or leave scale_rest out"
            )
        return self

    @model_validator(mode="after")
    def _fixed_has_values(self) -> "TteOptions":
        if (self.alpha == "fixed") != (self.alpha_values is not None):
            raise ValueError("alpha: fixed and alpha_values go together: give both or neither")
        if self.alpha_values is not None and (min(self.alpha_values) < 0 or sum(self.alpha_values) <= 0):
            raise ValueError("alpha_values must not be negative, and not all zero")
        return self


FusionPart = Annotated[FusionOptions, PartOf("fusion")]
