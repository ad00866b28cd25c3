"""Batch-norm statistics: which a forward pass uses, and their estimate from plain images in the end."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tessera.training.compute import Compute


def batch_norms(*modules: nn.Module) -> list[_BatchNorm]:
    """All batch-norm layers of these modules."""
    return [layer for module in modules for layer in module.modules() if isinstance(layer, _BatchNorm)]


def use_batch_statistics(*modules: nn.Module) -> None:
    """Switches to evaluation, save that batch norms use the batch's statistics; running ones stay untouched.

    The running statistics mix tasks and inputs while a training lasts (docs/methods.md 1.7), so only the batch's own
    describe what a task sees.
    """
    for module in modules:
        module.eval()
    for layer in batch_norms(*modules):
        layer.train()
        layer.track_running_stats = False


@contextmanager
def batch_statistics(*modules: nn.Module) -> Iterator[None]:
    """`use_batch_statistics`, for as long as the context lasts; afterwards the modules are in training mode."""
    tracking = [(layer, layer.track_running_stats) for layer in batch_norms(*modules)]
    use_batch_statistics(*modules)
    try:
        yield
    finally:
        for layer, tracked in tracking:
            layer.track_running_stats = tracked
        for module in modules:
            module.train()


@torch.no_grad()
def reestimate_statistics(
    network: nn.Module, batches: Iterable[Tensor], compute: Compute, of: Sequence[nn.Module] | None = None
) -> None:
    """Replaces running statistics by their cumulative average over these batches; leaves evaluation mode.

    A layer that no batch reaches, such as one of a task that is not asked, keeps those that it has.

    Args:
        network: On the device; without batch norm, nothing is done and no batch is made.
        of: Parts of the network whose statistics are meant, while the others' stay; None: all.

    Shape:
        batches: each (N, 3, H, W) float32, normalised, without augmentation.
    """
    network.eval()
    layers = batch_norms(*([network] if of is None else of))
    if not layers:
        return
    before = [(layer.momentum, {name: values.clone() for name, values in layer.named_buffers()}) for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative average
        layer.train()
    for images in batches:
        with compute.autocast():
            network(images)
    for layer, (momentum, buffers) in zip(layers, before, strict=True):
        layer.momentum = momentum
        if not layer.num_batches_tracked:
            layer.load_state_dict(buffers, strict=False)
    network.eval()
