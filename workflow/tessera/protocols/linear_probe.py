"""Linear probe: what can a linear classifier read from frozen features?"""

import logging
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tessera.data.store import Dataset, Split
from tessera.errors import DataError
from tessera.protocols.base import Evaluation, Measured, Protocol
from tessera.protocols.features import Read
from tessera.training.compute import Compute, library_threads

log = logging.getLogger("tessera")


class LinearProbe(Protocol):
    """Accuracy of multinomial logistic regression on frozen features.

    Minimises mean cross entropy + `l2` / 2 * ||W||^2 by L-BFGS; biases are free. Features are standardised by the mean
    and standard deviation of the labelled training images, so that one `l2` serves every layer and encoder.

    Source: the usual linear evaluation of self-supervised features (Zhang, Isola & Efros, ECCV 2016, section 3.2),
    full-batch and convex here, so that it has no schedule to tune and the same features give the same figure.
    """

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
        options, shared = self.options, self.features(measured, compute)
        features, labels = {}, {}
        for name, split in {"train": labeled, "test": dataset.test}.items():
            part = shared.labeled(split, f"the {name} split")
            maps = shared.read(part, options.layer, options.pool_px)
            features[name], labels[name] = maps.cpu().numpy(), part.labels.cpu().numpy()
        if len(np.unique(labels["train"])) < 2:
            raise DataError("linear_probe: the labelled training images are all of one class: raise label_fraction")
        probe = make_pipeline(StandardScaler(), self._classifier(len(features["train"])))
        with library_threads(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            probe.fit(features["train"], labels["train"])
            predictions = {name: probe.predict(values).astype(np.int64) for name, values in features.items()}
        if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
            log.warning("linear_probe: not converged after %d iterations: raise max_iterations", options.max_iterations)
        accuracy = {name: 100.0 * float(np.mean(predictions[name] == labels[name])) for name in labels}
        return Evaluation(
            {"accuracy": accuracy["test"], "train_accuracy": accuracy["train"]},
            {"labels": labels["test"], "predictions": predictions["test"]},
        )

    def _classifier(self, num_images: int) -> LogisticRegression:
        # scikit-learn sums over images and puts the weight on that sum: C = 1 / (l2 * N).
        strength = 1 / (self.options.l2 * num_images) if self.options.l2 > 0 else math.inf
        return LogisticRegression(C=strength, max_iter=self.options.max_iterations)
