"""Equal weights."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from tessera.multitask.balancing.base import Balancing


class Equal(Balancing):
    """Every loss has weight one: the gradients of a step's tasks are added.

    Source: Kim, Lee & Song 2019, Eq. 4.
    """

    def backward(self, losses: Mapping[str, Callable[[], Tensor]], shared: Sequence[nn.Parameter]) -> None:
        for loss in losses.values():
            loss().backward()  # type: ignore[no-untyped-call]
