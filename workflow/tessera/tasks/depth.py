"""Depth and disparity: how far away, or how near, is what each pixel shows?"""

import torch
from torch import Tensor

from tessera.tasks.dense import DenseTask, mean_where
from tessera.tasks.map_colors import number_pictures
from tessera.tasks.meters.maps import DepthMeter
from tessera.tasks.options.dense import DistanceOptions

_QUADRATIC_BEYOND = 0.2  # of a batch's largest error


class Depth(DenseTask):
    """The error of a positive number for each pixel: its depth, or its disparity.

    With `target: reciprocal` the head predicts 2 / (D + 2), between 0 and 1, and the loss is of that (thesis, 2.3.2);
    a prediction outside is taken as the nearest of them where it is turned back.

    Shape:
        labels: (N, H, W); 0 where there is none.
        prediction: (N, 1, h, w), of D, or of 2 / (D + 2).
    """

    options: DistanceOptions

    @property
    def num_outputs(self) -> int:
        return 1

    def loss_at_size(self, prediction: Tensor, labels: Tensor) -> Tensor:
        known = labels > 0
        wanted = labels.float() if self.options.target == "value" else 2 / (labels.float() + 2)
        errors = (prediction[:, 0] - wanted).abs()
        if self.options.loss == "berhu":
            bound = _QUADRATIC_BEYOND * torch.where(known, errors, 0.0).max().detach().clamp_min(1e-6)
            errors = torch.where(errors <= bound, errors, (errors**2 + bound**2) / (2 * bound))
        return mean_where(known, errors)

    def metrics_at_size(self, prediction: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"absolute_error": mean_where(labels > 0, (self.distances(prediction)[:, 0] - labels).abs())}

    def pictures(self, prediction: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], str]:
        answer, right, known = self.distances(prediction)[:, 0], labels.float(), labels > 0
        there = right[known] if known.any() else right.new_zeros(1)
        low, high = float(there.min()), float(there.max())
        views = {
            "right": number_pictures(right, known, low, high),
            "predicted": number_pictures(answer, torch.ones_like(known), low, high),
            "error": number_pictures((answer - right).abs(), known, 0.0, (high - low) / 2),
        }
        unit = f" {figure}" if (figure := self.options.figures[0].unit) else ""  # that of an absolute error
        return views, (
            f"Dark is {low:.2f}{unit}, bright {high:.2f}{unit}, black without a label; of errors bright is "
            f"{(high - low) / 2:.2f}{unit}."
        )

    def distances(self, prediction: Tensor) -> Tensor:
        """D of what the head predicts, float32."""
        if self.options.target == "value":
            return prediction.float()
        return 2 / prediction.float().clamp(1e-3, 1) - 2

    def meter(self) -> DepthMeter:
        return DepthMeter(self.device, self.distances)
