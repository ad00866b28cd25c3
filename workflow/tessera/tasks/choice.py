"""Tasks with one right answer among P, each as likely as any other."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.tasks.base import Task


class ChoiceTask(Task):
    """Cross-entropy over P answers; `make_batch` draws the right one uniformly.

    Shape:
        labels: (N,) int64, 0 to P - 1.
        prediction: (N, P) logits.
    """

    num_choices: int

    def loss(self, prediction: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(prediction.float(), labels)

    @torch.no_grad()
    def metrics(self, prediction: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"accuracy": (prediction.argmax(dim=1) == labels).float().mean()}

    def chance(self) -> dict[str, float]:
        return {"loss": math.log(self.num_choices), "accuracy": 1 / self.num_choices}
