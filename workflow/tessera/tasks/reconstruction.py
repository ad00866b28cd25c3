"""Reconstruction: the input image from its features."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from tessera.data.views import to_unit
from tessera.models.heads.maps import ImageHead, Rebuilt
from tessera.tasks.base import Preview, Task, TaskBatch, to_bytes
from tessera.tasks.options.base import view_px
from tessera.tasks.options.maps import ReconstructionOptions

TINY = 1e-6
LEVEL = 1 / 255


class Reconstruction(Task):
    """L_r = L_recon + L_reg: squared error, a divergence between the images, and the prediction's entropy.

    Source: Kim, Lee & Song 2019, Eq. 5 and 6; L_recon from Ng's notes on sparse autoencoders (CS294A), which Eq. 5
    cites. We take means over pixels, so that the tasks' losses have one scale. Eq. 6 does not say how an image is a
    distribution: `kl` names four readings (see `DIVERGENCES`).

    Shape:
        inputs: (N, 3, V, V) float32, mirrored and cropped at random, normalised, with noise where it is asked for.
        labels: (N, 3, V, V) float32, the clean image, 0 to 1.
        prediction: `Rebuilt`.
    """

    options: ReconstructionOptions

    def build_head(self, num_features: int) -> nn.Module:
        assert self.options.hidden is not None
        size = self.statistics.image_size
        factor = self.options.upsampling(size)
        return ImageHead(num_features, self.options.hidden, view_px(size), self.options.map_px(size), factor)

    def make_batch(self, images: Tensor, labels: Mapping[str, Tensor], generator: torch.Generator) -> TaskBatch:
        batch = super().make_batch(images, labels, generator)
        if self.options.noise == 0:
            return batch
        clean = batch.labels
        noise = torch.randn(clean.shape, generator=generator).to(clean.device, non_blocking=True)
        return TaskBatch(self.normalize(clean + self.options.noise * noise), clean)

    def batch_of(self, views: Tensor, labels: Mapping[str, Tensor]) -> TaskBatch:
        clean = to_unit(views)
        return TaskBatch(self.normalize(clean), clean)

    def loss(self, prediction: Rebuilt, labels: Tensor) -> Tensor:
        image = prediction.image.float()
        loss = 0.5 * (image - labels).square().sum(dim=1).mean()
        loss = loss + DIVERGENCES[self.options.kl](image, labels) + self.options.entropy_weight * entropy(image)
        if self.options.sparse_weight > 0:
            loss = loss + self.options.sparse_weight * sparsity(prediction.features, self.options.sparse_target)
        return loss

    @torch.no_grad()
    def metrics(self, prediction: Rebuilt, labels: Tensor) -> dict[str, Tensor]:
        return {"rmse": (prediction.image.float() - labels).square().mean().sqrt()}

    def preview(self, batch: TaskBatch, prediction: Rebuilt, number: int) -> Preview:
        """The image as shown, what is rebuilt of it and, where noise was added, the clean image."""
        views = {
            "shown": self.denormalize(batch.inputs[:number]),
            "rebuilt": to_bytes(prediction.image[:number]),
        }
        if self.options.noise > 0:
            views["original"] = to_bytes(batch.labels[:number])
        return Preview(views, "Rebuilt from the encoder's last map alone.")

    def chance(self) -> dict[str, float]:
        # One colour for every pixel: the mean one errs by the deviation. The loss of a constant is not known as
        # simply, since its divergence depends on more than mean and deviation.
        return {"rmse": math.sqrt(sum(deviation**2 for deviation in self.statistics.std) / 3)}


def generalised_kl(image: Tensor, label: Tensor) -> Tensor:
    """Mean of p log(p / y) - p + y over pixels and channels: at least 0, and 0 where p = y."""
    label = label.clamp_min(LEVEL)
    return (_p_log_ratio(image, label) - image + label).mean()


def bernoulli_kl(image: Tensor, label: Tensor) -> Tensor:
    """Mean of p log(p / y) + (1 - p) log((1 - p) / (1 - y)): each value is the probability of a lit pixel."""
    label = label.clamp(LEVEL, 1 - LEVEL)
    return (_p_log_ratio(image, label) + _p_log_ratio(1 - image, 1 - label)).mean()


def spatial_kl(image: Tensor, label: Tensor) -> Tensor:
    """Each channel, divided by its sum, is a distribution over the pixels: mean divergence of the channels.

    A channel without any light is taken for an even one, since it has no shares of its own.
    """
    # Added before the division: a saturated head predicts channels whose sum is 0 in float32.
    image, label = (map.flatten(2) for map in (image + TINY, label.clamp_min(LEVEL)))
    image, label = (map / map.sum(dim=2, keepdim=True) for map in (image, label))
    return (image * (image.log() - label.log())).sum(dim=2).mean()


def literal_kl(image: Tensor, label: Tensor) -> Tensor:
    """Mean of p log(p / y), as printed. Its minimum lies at p = y / e, so it darkens images: for ablation only."""
    return _p_log_ratio(image, label.clamp_min(LEVEL)).mean()


DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "generalised": generalised_kl,
    "bernoulli": bernoulli_kl,
    "spatial": spatial_kl,
    "literal": literal_kl,
}


def _p_log_ratio(image: Tensor, label: Tensor) -> Tensor:
    # Something is added, since a clamp would stop the gradient of dark pixels.
    return image * ((image + TINY).log() - label.log())


def entropy(image: Tensor) -> Tensor:
    """Mean of -p log p over pixels and channels, 0 to 1 / e: second term of Eq. 6."""
    return -(image * (image + TINY).log()).mean()


def sparsity(features: Tensor, target: float) -> Tensor:
    """Mean over units of KL(rho || rho_j), of Bernoulli distributions; rho_j is the batch's mean activation.

    Source: Ng, CS294A notes, on sigmoid units. Ours are pooled ReLU features z >= 0, so that 1 - exp(-z) is taken: it
    fills [0, 1), where a sigmoid would start at 1/2 and could never reach a small rho.

    Args:
        target: rho, between 0 and 1.

    Shape:
        features: (N, C).
    """
    mean = (-torch.expm1(-features.float().clamp_min(0))).mean(dim=0).clamp(TINY, 1 - TINY)
    return (target * (target / mean).log() + (1 - target) * ((1 - target) / (1 - mean)).log()).mean()
