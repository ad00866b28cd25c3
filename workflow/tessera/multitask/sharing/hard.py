"""Hard sharing: one encoder, one head a task."""

from collections.abc import Mapping

from torch import Tensor

from tessera.multitask.sharing.base import Sharing


class HardSharing(Sharing):
    """Every head reads the encoder's last map.

    Source: Kim, Lee & Song 2019, Eq. 2.
    """

    calls_encoder = True

    def features(self, task: str, maps: Mapping[str, Tensor]) -> Tensor:
        (z,) = maps.values()
        return z
