"""Semantic segmentation: which class has each pixel?"""

import math

import torch.nn.functional as F
from torch import Tensor

from tessera.data.columns import NO_CLASS
from tessera.tasks.dense import DenseTask, mean_where
from tessera.tasks.map_colors import class_color, class_pictures, number_pictures
from tessera.tasks.meters.maps import SegmentationMeter
from tessera.tasks.options.dense import SemanticSegmentationOptions


class SemanticSegmentation(DenseTask):
    """Cross-entropy over the classes of a column of class maps, a mean over the labelled pixels.

    Shape:
        labels: (N, H, W) uint8; 255 where there is none.
        prediction: (N, number of classes, h, w) logits.
    """

    options: SemanticSegmentationOptions

    @property
    def num_outputs(self) -> int:
        return len(self.column.classes)

    def loss_at_size(self, prediction: Tensor, labels: Tensor) -> Tensor:
        wanted = labels.long()
        total = F.cross_entropy(prediction, wanted, ignore_index=NO_CLASS, reduction="sum")
        return total / (wanted != NO_CLASS).sum().clamp_min(1)

    def metrics_at_size(self, prediction: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"pixel_accuracy": mean_where(labels != NO_CLASS, (prediction.argmax(dim=1) == labels).float())}

    def pictures(self, prediction: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], str]:
        best, known = prediction.argmax(dim=1), labels != NO_CLASS
        views = {
            "right": class_pictures(labels),
            "predicted": class_pictures(best),
            "error": number_pictures((best != labels).float(), known, 0.0, 1.0),
        }
        return views, "One colour a class, black without a label; bright errors are pixels of a wrong class."

    def legend(self, prediction: Tensor, labels: Tensor) -> list[tuple[str, str]]:
        occur = {*prediction.argmax(dim=1).flatten().tolist(), *labels.flatten().tolist()} - {NO_CLASS}
        return [(self.column.classes[label], class_color(label)) for label in sorted(occur)]

    def chance(self) -> dict[str, float]:
        return {"loss": math.log(self.num_outputs), "pixel_accuracy": 1 / self.num_outputs}

    def meter(self) -> SegmentationMeter:
        return SegmentationMeter(self.column.classes, self.device)
