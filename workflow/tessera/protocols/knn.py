"""Nearest neighbours: are features of the same class near each other?"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.data.store import Dataset, Split
from tessera.protocols.base import Evaluation, Measured, Protocol
from tessera.protocols.features import Read
from tessera.protocols.labels import percent
from tessera.training.compute import Compute


def vote(
    queries: Tensor, memory: Tensor, labels: Tensor, num_classes: int, neighbors: int, temperature: float
) -> Tensor:
    """The class that the nearest neighbours vote for, each with the weight exp(cosine / temperature).

    Source: Wu, Xiong, Yu & Lin, CVPR 2018, section 3.4, arXiv:1805.01978.

    Args:
        neighbors: Number of neighbours k; all of the memory where it has fewer.

    Shape:
        queries: (M, D) float32; memory: (N, D) float32; labels: (N,) int64.
        returns: (M,) int64; of equal votes the lowest class.
    """
    memory = F.normalize(memory, dim=1)
    predictions = []
    for batch in torch.split(F.normalize(queries, dim=1), 1024):  # bounds the (batch, N) matrix of cosines
        cosines, nearest = (batch @ memory.T).topk(min(neighbors, len(memory)))
        # Relative to the nearest: exp(1 / temperature) is infinite in float32 for temperatures below 0.012.
        weights = ((cosines - cosines[:, :1]) / temperature).exp()
        votes = torch.einsum("mk,mkc->mc", weights, F.one_hot(labels[nearest], num_classes).to(weights.dtype))
        predictions.append(votes.argmax(1))
    return torch.cat(predictions)


class Knn(Protocol):
    """Accuracy of a weighted vote of the nearest labelled training images, by cosine of frozen features."""

    def reads(self) -> Sequence[Read]:
        return [(self.options.layer, self.options.pool_px)]

    def evaluate(
        self,
        measured: Measured,
        dataset: Dataset,
        labeled: Split,
        compute: Compute,
        trial: int,
        resume: Path | None = None,
    ) -> Evaluation:
        options = self.options
        features = self.features(measured, compute)
        known, test = features.labeled(labeled, "the train split"), features.labeled(dataset.test, "the test split")
        memory, queries = (features.read(split, options.layer, options.pool_px) for split in (known, test))
        memory_labels, labels = known.labels.to(compute.device), test.labels.to(compute.device)
        predictions = vote(queries, memory, memory_labels, len(dataset.classes), options.neighbors, options.temperature)
        arrays = {"labels": labels.cpu().numpy(), "predictions": predictions.cpu().numpy()}
        return Evaluation({"accuracy": percent(predictions == labels)}, arrays)
