"""Surface normals: which way does what each pixel shows face?"""

import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.tasks.dense import DenseTask, mean_where
from tessera.tasks.map_colors import normal_pictures, number_pictures
from tessera.tasks.meters.maps import NormalsMeter, angles_between
from tessera.tasks.options.dense import NormalsOptions


class Normals(DenseTask):
    """The difference between predicted and right normal, both of length one, a mean over the labelled pixels.

    Source: one minus the inner product, MTAN (Liu, Johns & Davison, CVPR 2019), whose loss is the same less one.

    Shape:
        labels: (N, 3, H, W), unit vectors; 0 where there is none.
        prediction: (N, 3, h, w), of any length.
    """

    options: NormalsOptions

    @property
    def num_outputs(self) -> int:
        return 3

    def loss_at_size(self, prediction: Tensor, labels: Tensor) -> Tensor:
        answer, right = F.normalize(prediction, dim=1), F.normalize(labels.float(), dim=1)
        if self.options.loss == "l1":
            return mean_where(labels.any(dim=1), (answer - right).abs().mean(dim=1))
        return mean_where(labels.any(dim=1), 1 - (answer * right).sum(dim=1))

    def metrics_at_size(self, prediction: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"mean_angle": mean_where(labels.any(dim=1), angles_between(prediction, labels).float())}

    def pictures(self, prediction: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], str]:
        known = labels.any(dim=1)
        views = {
            "right": normal_pictures(F.normalize(labels.float(), dim=1), known),
            "predicted": normal_pictures(F.normalize(prediction, dim=1), torch.ones_like(known)),
            "error": number_pictures(angles_between(prediction, labels), known, 0.0, 90.0),
        }
        return views, "Red, green, blue: right, down, into the scene; black without a label; bright errors are 90°."

    def chance(self) -> dict[str, float]:
        return {"mean_angle": 90.0}  # of a direction drawn at random

    def meter(self) -> NormalsMeter:
        return NormalsMeter(self.device)
