"""Equal weights."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from tessera.multitask.balancing.base import Balancing
from tessera.multitask.balancing.options import EqualOptions


class Equal(Balancing):
    """Every loss has weight one: the gradients of a step's tasks are added, or averaged (`average`).

    Source: Kim, Lee & Song 2019, Eq. 4; the average is Doersch & Zisserman's of 2017.
    """

    options: EqualOptions

    def backward(self, losses: Mapping[str, Callable[[], Tensor]], shared: Sequence[nn.Parameter]) -> None:
        number = len(losses) if self.options.average else 1
        for loss in losses.values():
            (loss() / number).backward()  # type: ignore[no-untyped-call]
