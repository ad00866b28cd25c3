"""What can be set of balancings that follow how training goes: by the tasks' paces, or by a look at the next step."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field

from tessera.multitask.balancing.options.base import BalancingOptions, Compares, ComparingOptions
from tessera.registry import suggest


class GradnormOptions(ComparingOptions):
    """Tasks that learn slowly get longer gradients at the encoder's last layer."""

    compares: ClassVar[Compares] = "last_layer"

    name: Literal["gradnorm"] = "gradnorm"
    alpha: float = Field(
        1.5, ge=0, le=100, description="How strongly slow tasks are pulled along; 0: all gradients of one length."
    )
    learning_rate: float = Field(0.025, gt=0, description="Learning rate of the weights, the same all training long.")


class AutoLambdaOptions(BalancingOptions):
    """Weights learned so that, a step later, the primary tasks do better on other images."""

    looks_ahead: ClassVar[bool] = True

    name: Literal["auto_lambda"] = "auto_lambda"
    primary: tuple[str, ...] | None = Field(
        None, min_length=1, description="Tasks for whose sake the others are learned; null: all."
    )
    start: float = Field(
        0.1, gt=0, description="First weight of every task: a tenth of the loss, so steps are as many times shorter."
    )
    learning_rate: float = Field(1e-4, gt=0, description="Of the weights' own Adam, the same all training long.")

    def clashes(self, whole: Any) -> Iterator[str]:
        known = [task.key for task in whole.tasks]
        for name in self.primary or ():
            if name not in known:
                yield f"balancing.primary names `{name}`, which is no task of the source. {suggest(name, known)}"
        if len(known) < 2:
            return
        if not whole.schedule.several_tasks:
            yield (
                f"balancing `auto_lambda` asks what each task of a step does for the others, but schedule "
                f"`{whole.schedule.name}` takes one task a step: use `joint`"
            )
