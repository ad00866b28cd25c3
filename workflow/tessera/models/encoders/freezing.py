"""Keeps the first layers of an encoder as they are."""

import torch
from torch import nn

from tessera.errors import StudyError
from tessera.models.encoders.base import Encoder


def freeze(encoder: Encoder, num_layers: int) -> tuple[nn.Module, ...]:
    """Keeps the weights up to the n-th named layer as they are.

    Returns:
        The frozen modules: whoever trains the encoder keeps them in eval mode, so that batch-norm statistics rest too.

    Raises:
        StudyError: If the encoder has fewer layers.
    """
    names = list(encoder.layer_channels)
    if num_layers > len(names):
        raise StudyError(
            f"transfer.freeze_layers is {num_layers}, but the encoder has {len(names)} layers: "
            f"{', '.join(names)}. Set at most {len(names)}."
        )
    if num_layers == 0:
        return ()
    for parameter in _behind(encoder, names[num_layers - 1]):
        parameter.requires_grad_(False)
    return tuple(
        module
        for module in encoder.modules()
        if (own := list(module.parameters(recurse=False))) and not any(p.requires_grad for p in own)
    )


def _behind(encoder: Encoder, layer: str) -> list[nn.Parameter]:
    # Asked of autograd, so that it holds for every encoder: a map depends on what gives it a gradient.
    parameters = list(encoder.parameters())
    training = encoder.training
    encoder.eval()
    with torch.enable_grad():
        side = max(64, getattr(getattr(encoder, "options", None), "smallest_px", 0))
        images = torch.zeros(1, 3, side, side, device=parameters[0].device)
        gradients = torch.autograd.grad(encoder.layers(images)[layer].sum(), parameters, allow_unused=True)
    encoder.train(training)
    return [p for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None]
