"""Few-shot classification: how well are classes told from a handful of labelled images each?"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tessera.data.store import Dataset, Split
from tessera.errors import DataError
from tessera.protocols.base import CHANCE, Evaluation, Measured
from tessera.protocols.frozen import FrozenProtocol, Sides
from tessera.training.compute import Compute, library_threads
from tessera.training.randomness import seed_of


class FewShot(FrozenProtocol):
    """Mean accuracy over episodes: in each, `ways` classes are learned from `shots` images each, frozen features.

    An episode draws its classes, their shots among the labelled training images, and `queries` of each class among the
    test images, all evenly and without replacement; the trial seeds the episodes, whatever the encoder. Features are
    standardised by all labelled training images, whose labels are not read for that.

    Source: episodes as in Vinyals et al., NeurIPS 2016, section 4.1; the nearest class mean as in Snell et al., NeurIPS
    2017, section 2.2, on frozen features (Chen et al., ICLR 2019, section 3); `logistic` has L2 of weight 1 on the sum.
    `accuracy_std` is the deviation between episodes, `accuracy_ci95` the half width of the mean's 95 % interval, as
    papers give it.

    Raises:
        DataError: If too few classes have enough images.
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
        known = np.unique(np.concatenate([sides.train_labels, sides.test_labels]))
        ways = self.options.ways or len(known)
        scaler = StandardScaler().fit(sides.train)
        train, test = scaler.transform(sides.train), scaler.transform(sides.test)
        classify = nearest_mean if self.options.classifier == "nearest_mean" else logistic
        labels, predictions = [], []
        with library_threads():
            for shots, queries in self._episodes(sides, ways, dataset.classes, trial):
                labels.append(sides.test_labels[queries])
                predictions.append(classify(train[shots], sides.train_labels[shots], test[queries]))
        accuracy = 100.0 * (np.array(labels) == np.array(predictions)).mean(axis=1)
        std = float(accuracy.std(ddof=1))
        return Evaluation(
            {
                "accuracy": float(accuracy.mean()),
                "accuracy_std": std,
                "accuracy_ci95": 1.96 * std / len(accuracy) ** 0.5,
            },
            {"labels": np.concatenate(labels), "predictions": np.concatenate(predictions)},
            files={CHANCE: f"{json.dumps({'accuracy': 100 / ways})}\n".encode()},
        )

    def _episodes(
        self, sides: Sides, ways: int, classes: tuple[str, ...], trial: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows of the shots, (ways * shots,), and of the queries, (ways * queries,), of each episode."""
        shots, queries = self.options.shots, self.options.queries
        of_train, of_test = (
            [np.flatnonzero(labels == label) for label in range(len(classes))]
            for labels in (sides.train_labels, sides.test_labels)
        )
        able = [
            label for label in range(len(classes)) if len(of_train[label]) >= shots and len(of_test[label]) >= queries
        ]
        if len(able) < max(2, ways):
            raise DataError(
                f"few_shot: an episode needs {max(2, ways)} classes with {shots} labelled training images and "
                f"{queries} test images each, but {len(able)} of {len(classes)} have as many: lower `ways`, `shots` or "
                "`queries`, or raise label_fraction"
            )
        random = np.random.default_rng(seed_of(trial, "few_shot"))
        for _ in range(self.options.episodes):
            chosen = random.choice(able, ways, replace=False)
            yield (
                np.concatenate([random.choice(of_train[label], shots, replace=False) for label in chosen]),
                np.concatenate([random.choice(of_test[label], queries, replace=False) for label in chosen]),
            )


def nearest_mean(shots: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The class whose mean feature is nearest; of equally near ones the lowest.

    Shape:
        shots: (N, D) float; labels: (N,) int64; queries: (M, D) float.
        returns: (M,) int64.
    """
    classes = np.unique(labels)
    means = np.stack([shots[labels == label].mean(axis=0) for label in classes])
    return np.asarray(classes[cdist(queries, means, "sqeuclidean").argmin(axis=1)])


def logistic(shots: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """What multinomial logistic regression says; shapes as of `nearest_mean`."""
    return np.asarray(LogisticRegression(max_iter=1000).fit(shots, labels).predict(queries))
