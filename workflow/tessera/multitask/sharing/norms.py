"""Batch norms that stand in for an encoder's own while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

from torch import nn

from tessera.multitask.batch_norm import batch_norms


class StandInNorms(nn.ModuleList):
    """Copies of an encoder's batch norms, which can take the place of these.

    Args:
        encoder: Whose; not kept.
        affine: Whether the copies have scale and shift, too; without, they lend their statistics alone.
    """

    def __init__(self, encoder: nn.Module, *, affine: bool) -> None:
        super().__init__(deepcopy(norm) for norm in batch_norms(encoder))
        self.affine = affine
        for norm in self if not affine else ():
            norm.register_parameter("weight", None)
            norm.register_parameter("bias", None)

    @contextmanager
    def in_place_of(self, encoder: nn.Module) -> Iterator[None]:
        """The encoder runs with these tensors, for as long as the context lasts: what it tracks is tracked here.

        Of an encoder that stands still, an earlier copy say, nothing is tracked; while statistics are estimated anew,
        it is these layers that say so. `torch.func.functional_call` would lend the tensors, but not how the layers
        treat them.
        """
        norms = batch_norms(encoder)
        before = [dict(vars(norm)) for norm in norms]
        try:
            for norm, own in zip(norms, self, strict=True):
                assert isinstance(own, type(norm))
                vars(norm).update(
                    _buffers=own._buffers,
                    training=norm.training or own.training,
                    track_running_stats=norm.track_running_stats and own.track_running_stats,
                    momentum=own.momentum,
                )
                if self.affine:
                    vars(norm).update(_parameters=own._parameters)
            yield
        finally:
            for norm, state in zip(norms, before, strict=True):
                vars(norm).update(state)
