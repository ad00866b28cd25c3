"""Auto-Lambda: weights that are learned by what a step with them does for the primary tasks."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from tessera.errors import DivergedError
from tessera.multitask.balancing.base import Balancing
from tessera.multitask.balancing.options.lookahead import AutoLambdaOptions
from tessera.multitask.gradients import TaskGradients, add, task_gradients, total_gradient
from tessera.training.lookahead import moved, sgd_rates, sgd_step, trained_by
from tessera.training.optimizer import Adam

if TYPE_CHECKING:
    from tessera.multitask.step import Step


class AutoLambda(Balancing):
    """Weights lambda_k; before each step Adam moves them down the gradient of `sum_primary L'(w + step(lambda))`.

    step(lambda) is what SGD would do by the gradient of `sum_k lambda_k L_k`, with its momentum, weight decay and
    rates, but unclipped; under Adam it is plain descent at Adam's rates, as in the authors' code. L' is of other
    batches of the training set. As step is linear in lambda, the derivative is `-rate <d, g_k>`, d the gradient of L'
    there and g_k that of task k here: it is computed as such, of a gradient a task in memory. The authors' code
    estimates it by finite differences of the losses: two more passes forward, each with a dropout mask of its own, and
    a difference that bfloat16 would drown. A weight is not bounded, and may turn negative. Of one task, the plain
    gradient is taken.

    Source: Liu, James, Davison & Johns, TMLR 2022, arXiv:2202.03091, section 3, and the authors' code.
    """

    options: AutoLambdaOptions
    lambdas: Tensor

    def __init__(self, options: AutoLambdaOptions, tasks: Sequence[str]) -> None:
        super().__init__(options, tasks)
        self.register_buffer("lambdas", torch.full((len(self.tasks),), options.start))
        self.primary = self.tasks if options.primary is None else options.primary
        self._adam: Adam | None = None  # made when the buffer lies where it stays
        self._adam_state: dict[str, Any] | None = None

    def scale(self, task: str, loss: Tensor, number: int) -> Tensor:
        if len(self.tasks) == 1:
            return loss
        factor = self.lambdas[self.tasks.index(task)]
        self.note({task: factor})
        return factor * loss

    def look_ahead(self, step: "Step", optimizer: torch.optim.Optimizer) -> bool:
        primary = [task for task in step.tasks if task in self.primary]
        if len(step.tasks) < 2 or not primary:
            return False
        parameters = trained_by(optimizer)
        found = task_gradients(step, parameters)
        _check_finite(found)
        self.lambdas.grad = self.gradient(step, optimizer, primary, found)
        self._optimizer().step()
        self.lambdas.grad = None
        for parameter, gradient in zip(parameters, self._weighed(found), strict=True):
            parameter.grad = gradient
        self.note({task: self.lambdas[self.tasks.index(task)] for task in step.tasks})
        return True

    def gradient(
        self, step: "Step", optimizer: torch.optim.Optimizer, primary: Sequence[str], found: TaskGradients
    ) -> Tensor:
        """Of the primary tasks' loss on other batches, one step later, by lambda: (K,).

        Args:
            found: The step's gradients, of all that the optimiser trains.
        """
        parameters, rows = trained_by(optimizer), found.tasks
        with moved(parameters, sgd_step(optimizer, self._weighed(found))):
            ahead = total_gradient(step.another(primary), parameters)
        ahead = [None if d is None else rate * d for d, rate in zip(ahead, sgd_rates(optimizer), strict=True)]
        gradient = torch.zeros_like(self.lambdas)
        which = [self.tasks.index(task) for task in rows]
        gradient[which] = torch.stack([-_product(ahead, row) for row in rows.values()]).to(gradient)
        return gradient

    def _weighed(self, found: TaskGradients) -> list[Tensor | None]:
        """The step's gradient by the weights as they are."""
        total = found.outside
        for task, row in found.tasks.items():
            total = add(total, row, self.lambdas[self.tasks.index(task)])
        return total

    def get_extra_state(self) -> dict[str, Any]:
        """Adam's state."""
        state: dict[str, Any] = self._optimizer().state_dict()
        return state

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Goes on from Adam's state."""
        self._adam_state, self._adam = state, None

    def _optimizer(self) -> Adam:
        if self._adam is None:
            self._adam = Adam([self.lambdas], lr=self.options.learning_rate)
            if self._adam_state is not None:
                self._adam.load_state_dict(self._adam_state)
        return self._adam


def _check_finite(found: TaskGradients) -> None:
    """The only wait for the device: weights that are not finite would take all tasks with them, and name none.

    Raises:
        DivergedError: If a task's gradient is not finite.
    """
    lengths = [get_total_norm([part for part in row if part is not None]) for row in found.tasks.values()]
    for task, length in zip(found.tasks, torch.stack(lengths).tolist(), strict=True):
        if not math.isfinite(length):
            raise DivergedError(f"the gradient of task `{task}` is not finite, so it cannot be weighed.")


def _product(one: Sequence[Tensor | None], other: Sequence[Tensor | None]) -> Tensor:
    parts = [(a * b).sum() for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return torch.stack(parts).sum()
