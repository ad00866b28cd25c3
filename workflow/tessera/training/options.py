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
    schedule: Literal["steps", "cosine", "constant"] = Field("steps", description="Course of the learning rate.")
    milestones: tuple[float, ...] = Field((0.5, 0.75), description="`steps`: fractions of the training, ascending.")
    factor: float = Field(0.1, gt=0, le=1, description="`steps`: the learning rate is multiplied by it at each.")
    warmup: float = Field(0.0, ge=0, lt=1, description="Fraction of the training with linear warm-up.")

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
