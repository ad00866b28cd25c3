"""No fusion."""

from tessera.multitask.fusion.base import Epoch, Fusion
from tessera.multitask.fusion.states import State


class NoFusion(Fusion):
    """The last turn's weights are the encoder's."""

    def merge(self, epoch: Epoch) -> tuple[State, dict[str, float]]:
        if len(epoch.branches) > 1 and epoch.branches[-1].parallel:
            raise ValueError("parallel branches need a fusion: without one, all but the last are thrown away")
        return epoch.branches[-1].end, {}
