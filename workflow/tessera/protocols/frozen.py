"""Classifiers of scikit-learn on frozen features: what simple methods can read from what an encoder has learned."""

import logging
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from tessera.data.store import Dataset, Split
from tessera.errors import DataError
from tessera.protocols.base import Evaluation, Measured, Protocol
from tessera.protocols.features import Read
from tessera.training.compute import Compute, library_threads
from tessera.training.randomness import seed_of

log = logging.getLogger("tessera")


class Sides(NamedTuple):
    """Features and labels of the labelled training images, and of the labelled test images.

    Shape:
        train, test: (N, D) float32.
        train_labels, test_labels: (N,) int64.
    """

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


class FrozenProtocol(Protocol):
    """A protocol that reads frozen features of one layer, as arrays."""

    def reads(self) -> Sequence[Read]:
        return [(self.options.layer, self.options.pool_px)]

    def sides(self, measured: Measured, dataset: Dataset, labeled: Split, compute: Compute) -> Sides:
        """Features and labels.

        Raises:
            DataError: If a split has no labels, or all labelled training images are of one class.
        """
        shared, found = self.features(measured, compute), list[np.ndarray]()
        for name, split in {"train": labeled, "test": dataset.test}.items():
            part = shared.labeled(split, f"the {name} split")
            maps = shared.read(part, self.options.layer, self.options.pool_px)
            found += [maps.cpu().numpy(), part.labels.cpu().numpy()]
        sides = Sides(*found)
        if len(np.unique(sides.train_labels)) < 2:
            name = self.options.name
            raise DataError(f"{name}: the labelled training images are all of one class: raise label_fraction")
        return sides


class FrozenProbe(FrozenProtocol):
    """Accuracy of a classifier on features that are standardised by the labelled training images."""

    @abstractmethod
    def classifier(self, num_images: int, trial: int) -> Any:
        """A classifier of scikit-learn's interface, not yet fitted.

        Args:
            num_images: Labelled training images.
            trial: Seeds what it draws.
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
        sides = self.sides(measured, dataset, labeled, compute)
        probe = make_pipeline(StandardScaler(), self.classifier(len(sides.train), trial))
        with library_threads(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            probe.fit(sides.train, sides.train_labels)
            train, test = (probe.predict(features).astype(np.int64) for features in (sides.train, sides.test))
        if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
            name, most = self.options.name, self.options.max_iterations
            log.warning("%s: not converged after %d iterations: raise max_iterations", name, most)
        return Evaluation(
            {
                "accuracy": 100.0 * float(np.mean(test == sides.test_labels)),
                "train_accuracy": 100.0 * float(np.mean(train == sides.train_labels)),
            },
            {"labels": sides.test_labels, "predictions": test},
        )


class Svm(FrozenProbe):
    """Accuracy of a support vector machine on frozen features.

    Source: Cortes & Vapnik, Machine Learning 1995; a probe of DGR, section 4.3, which names no kernel. `linear` is
    LIBLINEAR (Fan et al., JMLR 2008): squared hinge loss, one class against the rest, time linear in the images. `rbf`
    is LIBSVM: hinge loss, one class against one, gamma 1 / (D * variance), time quadratic in the images.
    """

    def classifier(self, num_images: int, trial: int) -> Any:
        strength, most = self.options.C, self.options.max_iterations
        if self.options.kernel == "linear":
            # Of more features than images the dual problem is the smaller one; it is solved in a drawn order.
            return LinearSVC(C=strength, dual="auto", max_iter=most, random_state=seed_of(trial, "svm") % 2**32)
        return SVC(C=strength, kernel=self.options.kernel, max_iter=most)


class DecisionTree(FrozenProbe):
    """Accuracy of one decision tree on frozen features.

    Source: Breiman et al., Classification and Regression Trees, 1984; a probe of DGR, section 4.3. Gini impurity,
    leaves of one image; of equally good splits one is drawn by the trial's seed.
    """

    def classifier(self, num_images: int, trial: int) -> Any:
        return DecisionTreeClassifier(
            max_depth=self.options.max_depth, random_state=seed_of(trial, "decision_tree") % 2**32
        )
