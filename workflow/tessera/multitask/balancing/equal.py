"""Equal weights."""

from torch import Tensor

from tessera.multitask.balancing.base import Balancing
from tessera.multitask.balancing.options.losses import EqualOptions


class Equal(Balancing):
    """Every loss has weight one: the gradients of a step's tasks are added, or averaged (`average`).

    Source: Kim, Lee & Song 2019, Eq. 4; the average is Doersch & Zisserman's of 2017.
    """

    options: EqualOptions

    def scale(self, task: str, loss: Tensor, number: int) -> Tensor:
        return loss / number if self.options.average else loss
