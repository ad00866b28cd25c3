"""Supervised classification by the dataset's own labels: a bound, not a pretext task."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.data.views import to_unit
from tessera.models.heads.vectors import VectorHead
from tessera.tasks.base import Task, TaskBatch, random_views
from tessera.tasks.options.labelled import ClassificationOptions

UNLABELED = -1


class Classification(Task):
    """Cross-entropy over the dataset's classes; images without a label count for nothing.

    Shape:
        inputs: (N, 3, V, V) float32, mirrored and cropped at random, normalised.
        labels: (N,) int64; -1 where there is none.
        prediction: (N, num_classes) logits.
    """

    options: ClassificationOptions

    def build_head(self, num_features: int) -> nn.Module:
        return VectorHead(num_features, self.options.hidden, self.statistics.num_classes, dropout=self.options.dropout)

    def make_batch(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> TaskBatch:
        views = random_views(images, generator)
        return TaskBatch(self.normalize(to_unit(views)), labels)

    def loss(self, prediction: Tensor, labels: Tensor) -> Tensor:
        total = F.cross_entropy(prediction.float(), labels, ignore_index=UNLABELED, reduction="sum")
        return total / _num_labeled(labels)

    @torch.no_grad()
    def metrics(self, prediction: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"accuracy": (prediction.argmax(dim=1) == labels).sum() / _num_labeled(labels)}

    def chance(self) -> dict[str, float]:
        number = self.statistics.num_classes
        return {"loss": math.log(number), "accuracy": 1 / number}


def _num_labeled(labels: Tensor) -> Tensor:
    # At least 1, so that a batch without labels has loss 0 and not 0 / 0.
    return (labels != UNLABELED).sum().clamp_min(1)
