"""Hard sharing: one encoder, one head a task."""

from torch import Tensor

from tessera.models.encoders.base import Encoder
from tessera.multitask.sharing.base import Sharing


class HardSharing(Sharing):
    """Every head reads the encoder's last map.

    Source: Kim, Lee & Song 2019, Eq. 2.
    """

    def features(self, encoder: Encoder, task: str, inputs: Tensor) -> Tensor:
        return encoder(inputs)  # type: ignore[no-any-return]
