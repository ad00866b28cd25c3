"""Plain averaging of weights."""

from tessera.multitask.fusion.base import Epoch, Fusion
from tessera.multitask.fusion.options import AverageOptions
from tessera.multitask.fusion.states import State, mean_state


class Average(Fusion):
    """Mean over the branches of an epoch, then over the window of epochs.

    Under a schedule without branches the first mean has one member, and the window alone averages: the control
    that shows how much of a fusion is weight averaging.
    """

    def __init__(self, options: AverageOptions) -> None:
        super().__init__(options)
        self.window, self.feedback = options.window, options.window_feedback

    def merge(self, epoch: Epoch) -> tuple[State, dict[str, float]]:
        return mean_state([branch.end for branch in epoch.branches]), {}
