"""Supervised classification by the dataset's own labels."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.data.columns import UNLABELED
from tessera.models.heads.vectors import VectorHead
from tessera.tasks.labelled import LabelledTask
from tessera.tasks.meters.classes import TOP, ClassMeter
from tessera.tasks.options.labelled import ClassificationOptions


class Classification(LabelledTask):
    """Cross-entropy over the classes of a label column: the bound of pretext tasks, or one task of several labels.

    Shape:
        inputs: (N, 3, V, V) float32, mirrored and cropped at random, normalised.
        labels: (N,) int64; -1 where there is none.
        prediction: (N, number of classes) logits.
    """

    options: ClassificationOptions

    def build_head(self, num_features: int) -> nn.Module:
        return VectorHead(num_features, self.options.hidden, len(self.column.classes), dropout=self.options.dropout)

    def loss(self, prediction: Tensor, labels: Tensor) -> Tensor:
        total = F.cross_entropy(prediction.float(), labels, ignore_index=UNLABELED, reduction="sum")
        return total / _num_labeled(labels)

    @torch.no_grad()
    def metrics(self, prediction: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"accuracy": (prediction.argmax(dim=1) == labels).sum() / _num_labeled(labels)}

    def chance(self) -> dict[str, float]:
        number = len(self.column.classes)
        return {"loss": math.log(number), "accuracy": 1 / number}

    def meter(self) -> ClassMeter:
        return ClassMeter(self.column.classes, self.device)

    def guessed(self) -> dict[str, float]:
        number = len(self.column.classes)
        return {
            "accuracy": 100 / number,
            "top5_accuracy": 100 * min(TOP, number) / number,
            "cross_entropy": math.log(number),
        }


def _num_labeled(labels: Tensor) -> Tensor:
    # At least 1, so that a batch without labels has loss 0 and not 0 / 0.
    return (labels != UNLABELED).sum().clamp_min(1)
