"""Unsupervised segmentation: which segments cut the image best, and which can it be rebuilt from?"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.data.views import to_unit
from tessera.models.heads.maps import SegmentHead, Segments
from tessera.tasks.base import Preview, Task, TaskBatch, to_bytes
from tessera.tasks.color import rgb_from_lab
from tessera.tasks.options.maps import SegmentationOptions
from tessera.tasks.soft_cut import half_offsets, neighborhood_sum, pair_weights, soft_normalized_cut


class SegmentLabels(NamedTuple):
    """What `Segmentation` scores against.

    Shape:
        image: (N, 3, g, g) float32, the image's mean in each cell, 0 to 1.
        weights: (N, offsets, g, g) float32, likeness of pairs of cells.
        degrees: (N, 1, g, g) float32, sum of each cell's weights.
        turns: (2,) float32, factors of the cut and of the reconstruction in this batch.
    """

    image: Tensor
    weights: Tensor
    degrees: Tensor
    turns: Tensor


class Segmentation(Task):
    """Soft normalised cut plus squared error of the image rebuilt from the segments.

    Source: Xia & Kulis 2017 (W-Net), arXiv:1711.08506. The encoder is the shared one, and the segments lie on a grid
    coarser than the image. W-Net updates twice a batch, first by the cut, then by the reconstruction; we sum both.
    With `alternate` a batch has one of the two, which its generator draws, so that a step remains one step and a
    resumed training takes the same turns.

    Shape:
        inputs: (N, 3, V, V) float32, mirrored and cropped at random, normalised.
        labels: `SegmentLabels`.
        prediction: `Segments`.
    """

    options: SegmentationOptions

    def setup(self) -> None:
        options = self.options
        self.grid = options.grid(self.statistics.image_size)
        self.offsets = half_offsets(options.radius)
        cut_weight = options.cut_weight / (options.segments if options.divide_by_segments else 1)
        self.term_weights = torch.tensor([cut_weight, options.reconstruction_weight], device=self.device)

    def build_head(self, num_features: int) -> nn.Module:
        assert self.options.hidden is not None
        factor = self.options.upsampling(self.statistics.image_size)
        return SegmentHead(num_features, self.options.hidden, self.options.segments, self.grid, factor)

    def make_batch(self, images: Tensor, labels: Mapping[str, Tensor], generator: torch.Generator) -> TaskBatch:
        batch = super().make_batch(images, labels, generator)
        if not self.options.alternate:
            return batch
        turns = F.one_hot(torch.randint(2, (), generator=generator), 2).float()
        return TaskBatch(batch.inputs, batch.labels._replace(turns=turns.to(images.device, non_blocking=True)))

    def batch_of(self, views: Tensor, labels: Mapping[str, Tensor]) -> TaskBatch:
        pixels = to_unit(views)
        image = F.adaptive_avg_pool2d(pixels, self.grid)
        weights = pair_weights(
            255 * image.mean(dim=1), self.offsets, self.options.sigma_intensity, self.options.sigma_position
        )
        degrees = neighborhood_sum(torch.ones_like(image[:, :1]), weights, self.offsets)
        turns = torch.ones(2, device=views.device)
        return TaskBatch(self.normalize(pixels), SegmentLabels(image, weights, degrees, turns))

    def loss(self, prediction: Segments, labels: SegmentLabels) -> Tensor:
        terms = torch.stack([self._cut(prediction, labels), _squared_error(prediction, labels)])
        return (labels.turns * self.term_weights * terms).sum()

    def _cut(self, prediction: Segments, labels: SegmentLabels) -> Tensor:
        shares = prediction.shares.float()
        return soft_normalized_cut(shares, labels.weights, labels.degrees, self.offsets).mean()

    @torch.no_grad()
    def metrics(self, prediction: Segments, labels: SegmentLabels) -> dict[str, Tensor]:
        """The cut, 0 to K; the squared error; and how many segments the cells are spread over, 1 to K."""
        counts = F.one_hot(prediction.shares.argmax(dim=1), self.options.segments).float().mean(dim=(0, 1, 2))
        return {
            "cut": self._cut(prediction, labels),
            "squared_error": _squared_error(prediction, labels),
            "used_segments": torch.special.entr(counts).sum().exp(),
        }

    @torch.no_grad()
    def preview(self, batch: TaskBatch, prediction: Segments, number: int) -> Preview:
        """The image, its cells in the mixture of their segments' colours, and the image rebuilt from them."""
        shares = prediction.shares[:number].float()
        colors = segment_colors(shares.shape[1]).to(shares.device)
        views = {
            "shown": self.denormalize(batch.inputs[:number]),
            "segments": to_bytes(torch.einsum("nkhw,kc->nchw", shares, colors)),
            "rebuilt": to_bytes(prediction.image[:number]),
            "original": to_bytes(batch.labels.image[:number]),
        }
        return Preview(
            views,
            f"A colour for each of {shares.shape[1]} segments, mixed where a cell is split; rebuilt from them alone.",
        )

    def chance(self) -> dict[str, float]:
        # What a reconstruction without knowledge costs depends on the pooled images, which are not known here.
        return {"cut": self.options.segments - 1.0}


def segment_colors(number: int) -> Tensor:
    """A colour for each segment, of rising lightness, so that they differ in gray as well: (K, 3) float32, 0 to 1."""
    steps = torch.arange(number)
    light = 25 + 65 * steps / max(1, number - 1)
    angle = steps * math.pi * (3 - math.sqrt(5))  # golden: no two hues are near each other
    return rgb_from_lab(torch.stack([light, 35 * angle.cos(), 35 * angle.sin()], dim=1))


def _squared_error(prediction: Segments, labels: SegmentLabels) -> Tensor:
    """Summed over channels, averaged over cells."""
    return (prediction.image.float() - labels.image).square().sum(dim=1).mean()
