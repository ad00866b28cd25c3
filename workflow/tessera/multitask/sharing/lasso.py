"""Lasso sharing: each head reads its own sparse mixture of the last block's units."""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.models.encoders.base import Encoder
from tessera.multitask.sharing.base import Sharing
from tessera.multitask.sharing.options import LassoSharingOptions


class LassoSharing(Sharing):
    """h_k = sum_m alpha_km u_m over the units u_m of the encoder's last block, sum_m alpha_km^2 = 1 for each task k.

    Source: Doersch & Zisserman 2017, section 3.2, arXiv:1708.07860. The free weights A'_k are divided by their norm in
    each forward pass, so a row is of unit length after any step and any load; they start at one, alpha at 1 / sqrt(M).
    The penalty, weight * sum_m |alpha_km|, is of the divided rows: on the free ones it would only shrink them. They
    take the last block of their ResNet-101 before its top, we that of the encoder's own. Units whose channels differ
    from those of z pass a trained 1x1 convolution without bias first.

    Without `unit_length` alpha is the free row itself, which starts at 1 / sqrt(M), and the penalty may shrink it.

    With one unit alpha is 1, and a head reads z as under hard sharing. For transfer and evaluation the feature is the
    encoder's z itself: rows and alignments end with the training, and |alpha| alone is kept, in the history.

    Shape:
        features: a weighted sum of the units' maps, (M, C, h, w) as z.
    """

    options: LassoSharingOptions

    def __init__(
        self, options: LassoSharingOptions, encoder: Encoder, tasks: Sequence[str], build_encoder: Callable[[], Encoder]
    ) -> None:
        super().__init__(options, encoder, tasks, build_encoder)
        self.units = tuple(encoder.unit_layers)
        # A parameter a task, not a matrix: momentum leaves a row alone in steps of other tasks, as it has no gradient.
        start = torch.ones(len(self.units))
        start = start if options.unit_length else F.normalize(start, dim=0)
        self.rows = nn.ParameterList(nn.Parameter(start.clone()) for _ in self.tasks)
        channels, wanted = {**encoder.inner_channels, **encoder.layer_channels}, encoder.num_features
        self.alignments = nn.ModuleList(
            nn.Identity() if channels[unit] == wanted else nn.Conv2d(channels[unit], wanted, 1, bias=False)
            for unit in self.units
        )

    def alpha(self, task: str) -> Tensor:
        """The task's weights of the units, (M,) float32; of length 1, unless rows are free (`unit_length`)."""
        row = self.rows[self.tasks.index(task)]
        return F.normalize(row, dim=0) if self.options.unit_length else row

    def maps(self, encoder: Encoder, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        return encoder.maps(inputs, self.units)

    def features(self, task: str, maps: Mapping[str, Tensor]) -> Tensor:
        aligned = [align(maps[unit]) for unit, align in zip(self.units, self.alignments, strict=True)]
        first, *others = [weight * unit for weight, unit in zip(self.alpha(task), aligned, strict=True)]
        # Not of a stack, which would double the memory and lose channels_last.
        features: Tensor = sum(others, first)
        return features

    def penalty(self, task: str) -> Tensor:
        return self.options.weight * self.alpha(task).abs().sum()

    def groups(self) -> list[tuple[list[nn.Module], float]]:
        return [([self.alignments], 1.0), ([self.rows], self.options.lr_factor)]

    def figures(self) -> dict[str, float]:
        """|alpha| as `share.<task>.<unit>`, 0 to 1."""
        values = torch.stack([self.alpha(task).detach().abs() for task in self.tasks]).tolist()
        return {
            f"share.{task}.{unit}": value
            for task, row in zip(self.tasks, values, strict=True)
            for unit, value in zip(self.units, row, strict=True)
        }
