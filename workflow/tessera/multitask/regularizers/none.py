"""No regularizer."""

from collections.abc import Callable

from torch import Tensor

from tessera.models.encoders.base import Encoder
from tessera.multitask.regularizers.base import Regularizer


class NoRegularizer(Regularizer):
    """Adds nothing."""

    def forward(self, features: Tensor, recompute: Callable[[Encoder], Tensor]) -> Tensor | None:
        return None
