"""No fusion."""

from collections.abc import Mapping, Sequence

from tessera.models.encoders.base import Encoder
from tessera.multitask.fusion.base import Branch, Fusion
from tessera.multitask.fusion.states import State


class NoFusion(Fusion):
    """The last turn's weights are the encoder's."""

    def merge(
        self,
        previous: State,
        branches: Sequence[Branch],
        losses: Mapping[str, float],
        impacts: Mapping[str, float],
        encoder: Encoder,
    ) -> tuple[State, dict[str, float]]:
        if len(branches) > 1 and branches[-1].parallel:
            raise ValueError("parallel branches need a fusion: without one, all but the last are thrown away")
        return branches[-1].end, {}
