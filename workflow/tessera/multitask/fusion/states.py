"""Weights by name, and what fusions do with them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tessera.errors import StudyError
from tessera.models.encoders.base import Encoder

State = dict[str, Tensor]


def copy_state(module: nn.Module) -> State:
    """A copy of every parameter and buffer."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def mean_state(states: Sequence[State]) -> State:
    """Mean of each tensor; counters are those of the last state."""
    return {
        name: torch.stack([state[name] for state in states]).mean(dim=0) if tensor.is_floating_point() else tensor
        for name, tensor in states[-1].items()
    }


def layer_parameters(encoder: Encoder, layers: str) -> list[str]:
    """Names of the parameters of chosen layers, in the encoder's order.

    Args:
        layers: `conv_before_pool` or `stage_last`, as the encoder names them; `all_conv`: every convolution; `all`:
            every parameter. Statistics of batch norms are no parameters.

    Raises:
        StudyError: If the encoder names no such layers.
    """
    parameters = [name for name, _ in encoder.named_parameters()]
    if layers == "all":
        return parameters
    if layers == "all_conv":
        modules = {name for name, module in encoder.named_modules() if isinstance(module, nn.modules.conv._ConvNd)}
    elif layers in encoder.fusion_convolutions:
        modules = set(encoder.fusion_convolutions[layers])
    else:
        known = ", ".join([*encoder.fusion_convolutions, "all_conv", "all"])
        raise StudyError(f"`source.fusion.layers`: {type(encoder).__name__} has no `{layers}`. Known: {known}.")
    return [name for name in parameters if name.rpartition(".")[0] in modules]
