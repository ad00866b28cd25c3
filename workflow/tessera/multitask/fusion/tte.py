"""TTE: the temporal task ensemble."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tessera.errors import DivergedError
from tessera.multitask.fusion.base import Branch, Epoch, Fusion
from tessera.multitask.fusion.coefficients import progress_ratios, task_weight, temporal_weights
from tessera.multitask.fusion.gradients import READINGS
from tessera.multitask.fusion.options import TteOptions
from tessera.multitask.fusion.states import State, layer_parameters, mean_state


class TemporalTaskEnsemble(Fusion):
    """Adds each task's change, weighed by its progress, and a step from the first to the last task's weights.

    Source: Kim, Lee & Song 2019, Eq. 7 to 10. Read literally, Eq. 9 adds magnitudes, and diverges; the default
    keeps the signs (docs/methods.md 1.5), and Eq. 7's magnitude is what is recorded. Eq. 9 adds the tasks' changes up:
    with weights that sum to the number of tasks, an epoch of small steps moves the encoder as the same steps of joint
    training would (docs/methods.md 1.6). Only `layers` are fused so; all other tensors, batch-norm statistics among
    them, are those of the mean or the last branch (`rest`). With `scale_rest` the parameters among the former move
    `alpha_total` times the mean change.
    """

    options: TteOptions

    def __init__(self, options: TteOptions) -> None:
        super().__init__(options)
        self.layers, self.window, self.feedback = options.layers, options.window, options.window_feedback
        self._losses: dict[str, float] | None = None

    def origin(self, previous: State, branch: Branch) -> State:
        return branch.start if self.options.sequential_delta == "own" else previous

    def merge(self, epoch: Epoch) -> tuple[State, dict[str, float]]:
        previous, branches, losses = epoch.previous, epoch.branches, epoch.losses
        self._check(branches, losses)
        ratios = progress_ratios(losses, self._losses)
        alphas = temporal_weights(list(ratios.values()), [epoch.impacts[task] for task in ratios], self.options)
        alpha = dict(zip(ratios, alphas, strict=True))
        beta = self._beta(ratios[branches[0].tasks[0]], ratios[branches[-1].tasks[0]])
        self._losses = dict(losses)

        scale = self.options.literal_scale if self.options.delta == "literal" else 1.0
        first, last = branches[0].end, branches[-1].end
        state = last.copy() if self.options.rest == "last" else mean_state([branch.end for branch in branches])
        if self.options.scale_rest and self.options.rest == "mean":
            total = self.options.total(len(branches))
            # Parameters alone: statistics of batch norms describe what was seen, and are no steps.
            for name in layer_parameters(epoch.encoder, "all"):
                changes = [branch.end[name] - self.origin(previous, branch)[name] for branch in branches]
                state[name] = previous[name] + total * torch.stack(changes).mean(dim=0)
        for name in layer_parameters(epoch.encoder, self.layers):
            changes = [branch.end[name] - self.origin(previous, branch)[name] for branch in branches]
            temporal, task = READINGS[self.options.delta](changes, first[name], last[name])
            step = beta * task
            for branch, change in zip(branches, temporal, strict=True):
                step = step + alpha[branch.tasks[0]] * change
            state[name] = previous[name] + scale * step
        self._check_finite(state)
        return state, {**{f"alpha.{task}": value for task, value in alpha.items()}, "beta": beta}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "losses": self._losses}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._losses = state["losses"]

    def _beta(self, first: float, last: float) -> float:
        if not self.options.task_gradient or self._losses is None:
            return 0.0
        if self.options.delta == "literal":
            return self.options.beta0  # a distance has no direction in which to follow progress
        return task_weight(first, last, self.options.beta0)

    def _check(self, branches: Sequence[Branch], losses: Mapping[str, float]) -> None:
        if sorted(branch.tasks for branch in branches) != sorted((task,) for task in losses):
            raise ValueError("tte needs one branch a task and epoch: use schedule `branches` or `sequential`")
        if len(branches) > 1 and self.options.rest == "last" and any(branch.parallel for branch in branches):
            raise ValueError("tte: rest `last` throws all but one parallel branch away: use rest `mean`")
        if self.options.alpha_values is not None and len(self.options.alpha_values) != len(losses):
            raise ValueError(f"tte: {len(self.options.alpha_values)} alpha_values for {len(losses)} tasks")

    def _check_finite(self, state: State) -> None:
        finite = {name: tensor.isfinite().all() for name, tensor in state.items()}
        if not torch.stack(list(finite.values())).all():
            name = next(name for name, fine in finite.items() if not fine)
            raise DivergedError(f"fusion `tte` made weights of `{name}` that are not finite.{self._advice()}")

    def _advice(self) -> str:
        """What of its own options may be the cause: the printed Eq. 9 adds magnitudes, whatever the learning rate."""
        if self.options.delta != "literal":
            return ""
        scale = self.options.literal_scale
        return f" Use source.fusion.delta `signed`, or lower source.fusion.literal_scale (now {scale:g})."
