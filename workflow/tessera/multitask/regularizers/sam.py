"""SAM: gradients from where the loss is worst nearby, so that training ends in flat places."""

from collections.abc import Callable, Sequence

from torch import nn
from torch.nn.utils import get_total_norm

from tessera.multitask.regularizers.none import NoRegularizer
from tessera.multitask.regularizers.options import SamOptions
from tessera.training.lookahead import moved


class SharpnessAware(NoRegularizer):
    """The gradient at `w + rho g / |g|`, g the step's gradient at the weights w, is what the optimiser is given at w.

    g is of all that the step trains, as balancing puts it together, which sees both points as one step: what it
    remembers is of the first. Reported losses are those at w. Both passes are of the same batches, and both move the
    running statistics of batch norms, which training does not read and which are estimated anew in the end. Adds
    nothing to the losses.

    Source: Foret, Kleiner, Mobahi & Neyshabur, ICLR 2021, arXiv:2010.01412, Algorithm 1, p = 2.
    """

    options: SamOptions

    def around(self, gradients: Callable[[], None], parameters: Sequence[nn.Parameter]) -> None:
        gradients()
        found = [parameter.grad for parameter in parameters]
        length = get_total_norm([gradient for gradient in found if gradient is not None])
        for parameter in parameters:
            parameter.grad = None
        share = self.options.rho / length.clamp_min(1e-12)
        with moved(parameters, [None if gradient is None else gradient * share for gradient in found]):
            gradients()
