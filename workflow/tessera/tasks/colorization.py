"""Colorization: which ab bin has each pixel of a gray image?"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tessera.data.store import Dataset
from tessera.errors import DataError
from tessera.models.heads.maps import GridHead, resize
from tessera.tasks.base import Preview, Task, TaskBatch, random_views, to_bytes
from tessera.tasks.color import (
    annealed_mean,
    bin_centers,
    class_weights,
    color_table,
    lightness,
    look_up,
    rgb_from_lab,
    sample_points,
    smooth_prior,
    soft_code,
    table_entry,
)
from tessera.tasks.options.maps import ColorizationOptions

COLORFUL = 5.0  # Lab units; an image without any |a| or |b| above it is gray


class ColorLabels(NamedTuple):
    """What `Colorization` scores against, n bins a pixel.

    Shape:
        bins: (N, n, g, g) int64, the nearest first.
        codes: (N, n, g, g) float32, their weights, which sum to 1.
        weights: (N, g, g) float32, weight of the pixel; 0 in gray images.
        ab: (N, 2, g, g) float32.
    """

    bins: Tensor
    codes: Tensor
    weights: Tensor
    ab: Tensor


class Colorization(Task):
    """Cross-entropy between predicted and softly coded ab bins, rare colours weighing more.

    Source: Zhang, Isola & Efros, ECCV 2016, arXiv:1603.08511. Colours are looked up in a table of 6 bits a channel.
    As in the released code, a colour is that of one pixel a cell, gray images weigh nothing, and the sum is divided
    by the number of pixels, of which we leave those of gray images out.

    Shape:
        inputs: (N, 3, V, V) float32, (L - 50) / 50 three times.
        labels: `ColorLabels`.
        prediction: (N, Q, g, g) logits.
    """

    options: ColorizationOptions

    def setup(self) -> None:
        options = self.options
        self.grid = options.grid(self.statistics.image_size)
        self.centers = bin_centers(options.bins).to(self.device)
        self.table = color_table(options.bins, options.neighbors, options.sigma).to(self.device)
        self.weights = class_weights(self.prepared["prior"], options.rebalance)

    @classmethod
    def prepare(
        cls, options: ColorizationOptions, image_size: int, dataset: Dataset | None, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Counts the bins of training images, seen as in training.

        Shape:
            counts: (Q,) int64, sampled pixels whose nearest bin this is, gray images left out.
            prior: (Q,) float32, their smoothed shares.
            gray_rmse: () float32, error in ab of a gray prediction.

        Raises:
            DataError: If every image is gray.
        """
        assert dataset is not None
        images = dataset.train.images
        centers = bin_centers(options.bins)
        table = color_table(options.bins, 1, options.sigma).to(images.device)
        counts = torch.zeros(len(centers), dtype=torch.int64, device=images.device)
        energy = torch.zeros((), dtype=torch.float64, device=images.device)
        rows = torch.randperm(len(images), generator=generator)[: options.prior_images]
        for part in torch.split(rows.to(images.device), 1000):
            # Views, not images: the crop's black frame is part of what the task sees.
            views = random_views(images[part], generator)
            entries = table_entry(sample_points(views, options.grid(image_size)))
            entries = entries[_colorful(look_up(table.ab, entries))]
            counts += table.bins[entries].long().flatten().bincount(minlength=len(centers))
            energy += table.ab[entries].double().square().sum()
        total = counts.sum()
        if total == 0:
            raise DataError(
                f"colorization needs colours, but all {len(rows)} training images looked at are gray: "
                "leave the task out, or name another dataset"
            )
        return {
            "counts": counts.cpu(),
            "prior": smooth_prior(counts.cpu(), centers, options.sigma),
            "gray_rmse": (energy / total).sqrt().float().cpu(),
        }

    def build_head(self, num_features: int) -> nn.Module:
        assert self.options.hidden is not None
        factor = self.options.upsampling(self.statistics.image_size)
        return GridHead(num_features, self.options.hidden, len(self.centers), self.grid, factor)

    def make_batch(self, images: Tensor, labels: Mapping[str, Tensor], generator: torch.Generator) -> TaskBatch:
        views = random_views(images, generator)
        inputs = ((lightness(views) - 50) / 50).expand(-1, 3, -1, -1)
        entries = table_entry(sample_points(views, self.grid))
        ab, bins, codes = (look_up(column, entries) for column in self.table)
        bins = bins.long()
        weights = self.weights.take(bins[:, 0]) * _colorful(ab)[:, None, None]
        return TaskBatch(inputs, ColorLabels(bins, codes, weights, ab))

    def loss(self, prediction: Tensor, labels: ColorLabels) -> Tensor:
        # Five of 313 terms a pixel: the others of the dense sum are zero.
        chosen = prediction.float().log_softmax(dim=1).gather(1, labels.bins)
        errors = -(labels.codes * chosen).sum(dim=1)
        return (labels.weights * errors).sum() / _num_counted(labels)

    @torch.no_grad()
    def metrics(self, prediction: Tensor, labels: ColorLabels) -> dict[str, Tensor]:
        counted, number = labels.weights > 0, _num_counted(labels)
        hits = (prediction.argmax(dim=1) == labels.bins[:, 0]) & counted
        errors = (annealed_mean(prediction, self.centers) - labels.ab).square().sum(dim=1) * counted
        return {"accuracy": hits.sum() / number, "ab_rmse": (errors.sum() / number).sqrt()}

    @torch.no_grad()
    def preview(self, batch: TaskBatch, prediction: Tensor, number: int) -> Preview:
        """The gray image, predicted colours as they are decoded, and the image's own on the same grid."""
        light = 50 * batch.inputs[:number, :1] + 50

        def painted(ab: Tensor) -> Tensor:
            lab = torch.cat([light, resize(ab, light.shape[-1])], dim=1).movedim(1, -1)
            return to_bytes(rgb_from_lab(lab).movedim(-1, 1))

        views = {
            "shown": painted(torch.zeros_like(batch.labels.ab[:number])),
            "predicted": painted(annealed_mean(prediction[:number], self.centers)),
            "original": painted(batch.labels.ab[:number]),
        }
        return Preview(
            views, f"Colours are those of {self.grid} × {self.grid} cells, the lightness is the image's own."
        )

    def chance(self) -> dict[str, float]:
        """Of the best constant distribution, the commonest bin, and a gray image."""
        shares = (self.prepared["counts"] / self.prepared["counts"].sum()).cpu()
        weighted = shares * self.weights.cpu()
        mean_code = weighted @ _mean_codes(self.centers.cpu(), self.options.neighbors, self.options.sigma)
        # The mean code, scaled to a distribution, minimises the weighted cross-entropy; what is left is its entropy.
        entropy = torch.special.entr(mean_code / mean_code.sum()).sum() * weighted.sum()
        return {
            "loss": float(entropy),
            "accuracy": float(shares.max()),
            "ab_rmse": float(self.prepared["gray_rmse"]),
        }


def _colorful(ab: Tensor) -> Tensor:
    """(N, 2, h, w) to (N,) bool."""
    return ab.abs().amax(dim=(1, 2, 3)) > COLORFUL


def _num_counted(labels: ColorLabels) -> Tensor:
    # At least 1, so that a batch of gray images has loss 0 and not 0 / 0.
    return (labels.weights > 0).sum().clamp_min(1)


def _mean_codes(centers: Tensor, neighbors: int, sigma: float, points: int = 5) -> Tensor:
    """Mean code of the colours in each bin's cell, taken at 5 x 5 points: (Q, Q), rows sum to 1."""
    steps = ((torch.arange(points) + 0.5) / points - 0.5) * 10
    inside = centers[:, None] + torch.cartesian_prod(steps, steps)
    bins, weights = soft_code(inside.flatten(0, 1), centers, neighbors, sigma)
    codes = torch.zeros(len(bins), len(centers)).scatter_(1, bins, weights)
    return codes.view(len(centers), points**2, -1).mean(dim=1)
