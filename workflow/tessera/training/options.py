"""What can be set of a training. Torch-free: read while a plan is made."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tessera.registry import LATE, Checked


class OptimizerOptions(Checked):
    """The optimiser, and its learning rate over a training."""

    kind: Annotated[Literal["sgd", "adam"], LATE] = Field(
        "sgd",
        description="Stochastic gradient descent, or Adam (beta2 0.999, epsilon 1e-8), whose usual learning rate is "
        "1e-3 or less.",
    )
    learning_rate: float = Field(0.01, gt=0, description="Learning rate at its highest.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum; of `adam`, beta1.")
    nesterov: bool = Field(False, description="Nesterov's momentum, of `sgd` alone.")
    weight_decay: float = Field(
        1e-4, ge=0, description="Weight decay on weights, a part of the gradient; biases and norms have none."
    )
    clip_norm: float | None = Field(5.0, gt=0, description="Largest norm of the gradient; null: unlimited.")
    schedule: Literal["steps", "cosine", "constant", "wsd"] = Field(
        "steps",
        description="Course of the learning rate; `wsd`: warm-up, then constant, then a decay to 0 at the end.",
    )
    milestones: tuple[float, ...] = Field((0.5, 0.75), description="`steps`: fractions of the training, ascending.")
    factor: float = Field(0.1, gt=0, le=1, description="`steps`: the learning rate is multiplied by it at each.")
    warmup: float = Field(0.0, ge=0, lt=1, description="Fraction of the training with linear warm-up.")
    warmup_epochs: Annotated[float, LATE] = Field(
        0.0,
        ge=0,
        description="`constant`, `wsd`: epochs of linear warm-up, in place of `warmup`, which depends on how long the "
        "training is.",
    )
    decay_epochs: Annotated[int | None, LATE] = Field(
        None, ge=1, description="`wsd`, which needs it: whole epochs at the end in which the learning rate falls to 0."
    )
    decay: Annotated[Literal["sqrt", "linear"], LATE] = Field(
        "sqrt",
        description="`wsd`: shape of the decay, x its part that is done: `sqrt` is 1 - sqrt(x), `linear` 1 - x.",
    )

    @model_validator(mode="after")
    def _ascending(self) -> "OptimizerOptions":
        if list(self.milestones) != sorted(set(self.milestones)) or not all(0 < m < 1 for m in self.milestones):
            raise ValueError("milestones must ascend strictly between 0 and 1")
        if self.nesterov and self.kind == "adam":
            raise ValueError(
                "nesterov is of kind `sgd`, but kind is `adam`: set it to `false`, where a scale has it too"
            )
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum above 0")
        return self

    @model_validator(mode="after")
    def _of_its_schedule(self) -> "OptimizerOptions":
        """Refuses what the schedule would pass over: it would be in the keys all the same."""
        if self.schedule == "wsd" and self.decay_epochs is None:
            raise ValueError("schedule `wsd` needs decay_epochs, such as a tenth to a fifth of the training's epochs")
        if self.schedule != "wsd" and self.decay_epochs is not None:
            raise ValueError(
                f"decay_epochs is of schedule `wsd`, but schedule is `{self.schedule}`: set decay_epochs to null"
            )
        if self.schedule != "wsd" and self.decay != "sqrt":
            raise ValueError(f"decay is of schedule `wsd`, but schedule is `{self.schedule}`: leave decay out")
        if self.warmup > 0 and (self.schedule == "wsd" or self.warmup_epochs > 0):
            raise ValueError(
                f"warmup is a fraction of the whole training, so that its beginning would depend on its end: under "
                f"schedule `{self.schedule}` set warmup_epochs alone, and warmup to 0, where a scale has it too"
                if self.schedule in ("wsd", "constant")
                else f"warmup_epochs is of schedules `constant` and `wsd`, but schedule is `{self.schedule}`: set "
                "warmup alone"
            )
        if self.warmup_epochs > 0 and self.schedule not in ("wsd", "constant"):
            raise ValueError(
                f"warmup_epochs is of schedules `constant` and `wsd`, but schedule is `{self.schedule}`: set warmup, a "
                "fraction of the training"
            )
        return self

    def unmoved_epochs(self, epochs: int) -> int:
        """How many epochs at a training's beginning are the same whatever its end: 0 where each depends on the end.

        >>> OptimizerOptions(schedule="wsd", decay_epochs=2).unmoved_epochs(10), OptimizerOptions().unmoved_epochs(10)
        (8, 0)
        """
        if self.schedule not in ("constant", "wsd") or self.warmup > 0:
            return 0
        return max(0, epochs - (self.decay_epochs or 0))

    def too_long_for(self, epochs: int) -> str:
        """Why warm-up and decay do not fit into so many epochs, without the key of these; nothing if they do."""
        taken = self.warmup_epochs + (self.decay_epochs or 0)
        if taken <= epochs:
            return ""
        parts = [f"optimizer.warmup_epochs ({self.warmup_epochs:g})"] if self.warmup_epochs else []
        parts += [f"optimizer.decay_epochs ({self.decay_epochs})"] if self.decay_epochs else []
        verb = "are" if len(parts) > 1 else "is"
        return f"{' and '.join(parts)} {verb} longer than the training ({epochs} epochs): lower what is too long"
