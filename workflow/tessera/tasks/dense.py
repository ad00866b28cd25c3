"""Tasks that learn a map of labels: what they share."""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from tessera.models.heads.dense import HEADS, at_size_of
from tessera.tasks.base import Preview, TaskBatch
from tessera.tasks.labelled import LabelledTask
from tessera.tasks.options.dense import DenseTaskOptions


class DenseTask(LabelledTask):
    """A value of each pixel. It is predicted at the size of the head's map and compared at that of the labels.

    A pixel without a label counts for nothing, and a batch without any has loss 0.

    Shape:
        inputs: (N, 3, h, w) float32, normalised; mirrored, enlarged and cropped as the options say.
    """

    options: DenseTaskOptions

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Values that are predicted for each pixel."""

    def build_head(self, num_features: int) -> nn.Module:
        return HEADS[self.options.head](num_features, self.options.hidden, self.num_outputs)

    def loss(self, prediction: Tensor, labels: Tensor) -> Tensor:
        return self.loss_at_size(at_size_of(labels, prediction), labels)

    @abstractmethod
    def loss_at_size(self, prediction: Tensor, labels: Tensor) -> Tensor:
        """The mean over the labelled pixels of a prediction of the labels' size, float32; 0 where there is none."""

    @torch.no_grad()
    def metrics(self, prediction: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return self.metrics_at_size(at_size_of(labels, prediction), labels)

    @abstractmethod
    def metrics_at_size(self, prediction: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Figures of a prediction of the labels' size, each ()."""

    @torch.no_grad()
    def preview(self, batch: TaskBatch, prediction: Tensor, number: int) -> Preview:
        """What was shown, the right map, the predicted one, and how far apart they are; black has no label."""
        labels = batch.labels[:number]
        pictures, told = self.pictures(at_size_of(labels, prediction[:number]), labels)
        return Preview({"shown": self.denormalize(batch.inputs[:number]), **pictures}, told)

    @abstractmethod
    def pictures(self, prediction: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], str]:
        """Pictures of `right`, `predicted` and `error`, of a prediction of the labels' size, and how to read them."""

    def legend(self, prediction: Tensor, labels: Tensor) -> list[tuple[str, str]]:
        """What the colours of such pictures stand for, `#rrggbb`, of what occurs there; none where a scale says it."""
        return []

    def chance(self) -> dict[str, float]:
        return {}  # it depends on the labels: see the dataset's own statistics

    def guessed(self) -> dict[str, float]:
        return {}


def mean_where(known: Tensor, values: Tensor) -> Tensor:
    """The mean of the values that are known, (); 0, with no gradient, where none is."""
    return torch.where(known, values, 0.0).sum() / known.sum().clamp_min(1)
