"""Of classes of images: accuracy, accuracy of the likeliest ones, cross-entropy."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.data.columns import UNLABELED
from tessera.tasks.meters.base import Meter

TOP = 5


class ClassMeter(Meter):
    """Accuracy, accuracy of the five likeliest classes, cross-entropy, and the confusion matrix.

    Shares are in percent, the cross-entropy in nats. Images without a label (-1) count for nothing. With five classes
    or fewer `top5_accuracy` is 100, since every class is among the first five.

    Shape:
        prediction: (N, K) logits.
        labels: (N,) int64.
        arrays: `confusion` (K, K) int64, rows by the right class; `labels` and `predictions` (M,) int64, of the images
            that have a label, in the order in which they were added.
    """

    def __init__(self, classes: Sequence[str], device: torch.device) -> None:
        self.number = len(classes)
        self.confusion = torch.zeros(self.number, self.number, dtype=torch.int64, device=device)
        # float64: sums of millions of images lose nothing.
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)  # of top-5 hits and of cross-entropies
        self._labels, self._predictions = list[Tensor](), list[Tensor]()

    def add(self, prediction: Tensor, labels: Tensor) -> None:
        known = labels != UNLABELED
        logits, labels = prediction.float()[known], labels[known]
        best = logits.topk(min(TOP, self.number)).indices
        pairs = labels * self.number + best[:, 0]
        self.confusion += torch.bincount(pairs, minlength=self.number**2).view_as(self.confusion)
        errors = F.cross_entropy(logits, labels, reduction="none").double()
        self.sums += torch.stack([(best == labels[:, None]).sum().double(), errors.sum()])
        self._labels.append(labels)
        self._predictions.append(best[:, 0])

    def count(self) -> int:
        return int(self.confusion.sum())

    def figures(self) -> dict[str, float]:
        number = self.confusion.sum().double()
        hits = self.confusion.diagonal().sum()
        accuracy, top, error = (torch.stack([hits.double(), *self.sums]) / number).tolist()
        return {"accuracy": 100.0 * accuracy, "top5_accuracy": 100.0 * top, "cross_entropy": error}

    def arrays(self) -> dict[str, np.ndarray]:
        found = {
            "confusion": self.confusion,
            "labels": torch.cat([torch.zeros(0, dtype=torch.int64, device=self.sums.device), *self._labels]),
            "predictions": torch.cat([torch.zeros(0, dtype=torch.int64, device=self.sums.device), *self._predictions]),
        }
        return {name: tensor.cpu().numpy() for name, tensor in found.items()}
