"""Model patches: one encoder, of which each task has a few small layers of its own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from tessera.errors import StudyError
from tessera.models.encoders.base import Encoder
from tessera.multitask.batch_norm import batch_norms
from tessera.multitask.sharing.base import Sharing
from tessera.multitask.sharing.norms import StandInNorms
from tessera.multitask.sharing.options import ModelPatchSharingOptions
from tessera.multitask.task_network import head_key


class NormPatch(StandInNorms):
    """Scale, shift and statistics of every batch norm."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder, affine=True)

    def forward(self, encoder: Encoder, inputs: Tensor) -> Tensor:
        """z under the patch."""
        with self.in_place_of(encoder):
            return encoder(inputs)  # type: ignore[no-any-return]

    def export(self, encoder: Encoder) -> None:
        """Writes the patch into the encoder."""
        for norm, own in zip(batch_norms(encoder), self, strict=True):
            norm.load_state_dict(own.state_dict())


class DepthwisePatch(nn.ModuleList):
    """A depthwise 3x3 convolution after each stage, the identity at first."""

    def __init__(self, encoder: Encoder) -> None:
        channels = {**encoder.inner_channels, **encoder.layer_channels}
        super().__init__(_identity(channels[name]) for name, _ in encoder.stages())

    def forward(self, encoder: Encoder, inputs: Tensor) -> Tensor:
        """z under the patch."""
        made, kept = inputs, dict[str, Any]()
        for (_, stage), patch in zip(encoder.stages(), self, strict=True):
            made = patch(stage(made, kept))
        return made

    def export(self, encoder: Encoder) -> None:
        """Nothing: what stands between the stages has no place in them."""


KINDS: dict[str, Callable[[Encoder], NormPatch | DepthwisePatch]] = {
    "batch_norm": NormPatch,
    "depthwise": DepthwisePatch,
}


class ModelPatchSharing(Sharing):
    """Each task sees through the one encoder with a patch of its own: its batch norms, or depthwise convolutions.

    Source: Mudrakarta, Sandler, Zhmoginov & Howard, ICLR 2019, sections 3 and 5.2, arXiv:1810.10703. All weights are
    trained together, as in their multi-task learning; each task has a pass of its own. Their depthwise patches are
    those of MobileNet, ours follow each stage of the encoder (`Encoder.stages`).

    The encoder that is handed on has the batch norms of task `export`; under `depthwise` it is the common one, without
    a patch. Batch norms as patches of one task are hard sharing.

    Shape:
        features: z under the task's patch, (M, C, h, w).

    Raises:
        StudyError: If batch norms are asked for, and the encoder has none.
    """

    options: ModelPatchSharingOptions

    def __init__(
        self,
        options: ModelPatchSharingOptions,
        encoder: Encoder,
        tasks: Sequence[str],
        build_encoder: Callable[[], Encoder],
    ) -> None:
        super().__init__(options, encoder, tasks, build_encoder)
        if options.kind == "batch_norm" and not batch_norms(encoder):
            raise StudyError(
                f"sharing.kind is `batch_norm`, but {type(encoder).__name__} has no batch norm: set it to `depthwise`"
            )
        self.patches = nn.ModuleDict({head_key(task): KINDS[options.kind](encoder) for task in self.tasks})

    def maps(self, encoder: Encoder, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        return {task: self.patches[head_key(task)](encoder, inputs) for task in tasks}

    def features(self, task: str, maps: Mapping[str, Tensor]) -> Tensor:
        return maps[task]

    def export(self, encoder: Encoder) -> None:
        patch = self.patches[head_key(self.options.export or self.tasks[0])]
        assert isinstance(patch, NormPatch | DepthwisePatch)
        patch.export(encoder)


def _identity(channels: int) -> nn.Conv2d:
    convolution = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    nn.init.dirac_(convolution.weight, groups=channels)
    return convolution
