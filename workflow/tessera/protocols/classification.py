"""Classification: how often is the trained network right?"""

from pathlib import Path

import torch.nn.functional as F

from tessera.data.store import Dataset, Split
from tessera.protocols.base import Evaluation, Measured, Protocol
from tessera.protocols.features import predict
from tessera.protocols.labels import percent, with_labels
from tessera.training.compute import Compute


class Classification(Protocol):
    """Accuracy and cross entropy of the target network on the test split.

    Source: Kim, Lee & Song 2019, section 4.1: accuracy after the last epoch, one view an image. With five classes or
    fewer `top5_accuracy` is 100, since every class is among the first five.
    """

    def evaluate(
        self,
        measured: Measured,
        dataset: Dataset,
        labeled: Split,
        compute: Compute,
        trial: int,
        resume: Path | None = None,
    ) -> Evaluation:
        test = with_labels(dataset.test, "the test split")
        labels = test.labels.to(compute.device)
        logits = predict(measured.model, test.images, measured.normalization, compute)
        best = logits.topk(min(5, logits.shape[1])).indices
        hits = best == labels[:, None]
        metrics = {
            "accuracy": (accuracy := percent(hits[:, 0])),
            "error": 100.0 - accuracy,
            "top5_accuracy": percent(hits.any(1)),
            "cross_entropy": F.cross_entropy(logits, labels).item(),
        }
        arrays = {"labels": labels, "predictions": best[:, 0], "logits": logits}
        return Evaluation(metrics, {name: array.cpu().numpy() for name, array in arrays.items()})
