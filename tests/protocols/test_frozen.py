"""Classifiers of scikit-learn on frozen features, against scikit-learn itself and by hand."""

import json
import logging
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from tessera import registry
from tessera.data.store import Dataset, Split
from tessera.errors import DataError
from tessera.models.encoders.base import Encoder
from tessera.protocols.base import Evaluation, Measured, Protocol
from tessera.protocols.features import extract_features
from tessera.training.compute import Compute


def evaluate(
    name: str, encoder: Encoder, dataset: Dataset, compute: Compute, trial: int = 0, **options: Any
) -> Evaluation:
    protocol: Protocol = registry.load("protocol", name)(registry.find("protocol", name).options(name=name, **options))
    return protocol.evaluate(Measured(encoder, dataset.normalization), dataset, dataset.train, compute, trial)


def standardised(encoder: Encoder, dataset: Dataset, compute: Compute) -> tuple[np.ndarray, np.ndarray]:
    train, test = (
        extract_features(encoder, split.images, dataset.normalization, compute).numpy()
        for split in (dataset.train, dataset.test)
    )
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test)


@pytest.mark.parametrize(
    ("name", "options", "reference"),
    [
        ("svm", {}, LinearSVC(C=1.0, max_iter=10_000)),
        ("svm", {"C": 0.001}, LinearSVC(C=0.001, max_iter=10_000)),
        ("svm", {"kernel": "rbf", "C": 3.0}, SVC(C=3.0)),
        ("decision_tree", {"max_depth": 1}, DecisionTreeClassifier(max_depth=1, random_state=0)),
    ],
)
def test_predicts_what_scikit_learn_predicts(
    encoder: Encoder, dataset: Dataset, compute: Compute, name: str, options: dict[str, Any], reference: Any
) -> None:
    train, test = standardised(encoder, dataset, compute)
    reference.fit(train, dataset.train.labels.numpy())
    found = evaluate(name, encoder, dataset, compute, **options)
    if name == "svm":  # whose optimum is unique; a tree draws between equal splits
        assert np.array_equal(found.arrays["predictions"], reference.predict(test))
    expected = 100 * reference.score(train, dataset.train.labels.numpy())
    assert found.metrics["train_accuracy"] == pytest.approx(expected)


def test_a_tree_without_a_depth_knows_its_training_images(encoder: Encoder, dataset: Dataset, compute: Compute) -> None:
    assert evaluate("decision_tree", encoder, dataset, compute).metrics["train_accuracy"] == 100.0
    assert len(np.unique(evaluate("decision_tree", encoder, dataset, compute, max_depth=1).arrays["predictions"])) == 2


def test_too_few_iterations_are_logged(
    encoder: Encoder, dataset: Dataset, compute: Compute, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="tessera"):
        evaluate("svm", encoder, dataset, compute, kernel="rbf", max_iterations=1)
    assert "svm: not converged after 1 iterations: raise max_iterations" in caplog.text


@pytest.mark.parametrize("name", ["svm", "decision_tree", "few_shot"])
def test_labels_of_one_class_are_refused(name: str, encoder: Encoder, dataset: Dataset, compute: Compute) -> None:
    one = Split(dataset.train.images, torch.ones_like(dataset.train.labels))
    alike = Dataset(dataset.classes, 8, *dataset.normalization, {"train": one, "test": dataset.test})
    with pytest.raises(DataError, match=f"{name}: the labelled training images are all of one class"):
        evaluate(name, encoder, alike, compute)


def test_few_shot_by_hand(encoder: Encoder, dataset: Dataset, compute: Compute) -> None:
    """All images of a class as shots and as queries: every episode is the nearest mean of them all."""
    train, test = standardised(encoder, dataset, compute)
    of_train, of_test = dataset.train.labels.numpy(), dataset.test.labels.numpy()
    means = np.stack([train[of_train == label].mean(axis=0) for label in range(3)])
    nearest = ((test[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    found = evaluate("few_shot", encoder, dataset, compute, shots=20, queries=10, episodes=4)
    assert found.metrics["accuracy"] == pytest.approx(100 * np.mean(nearest == of_test))
    assert found.metrics["accuracy_std"] == pytest.approx(0, abs=1e-9)
    assert len(found.arrays["labels"]) == 4 * 30


def test_few_shot_tells_its_spread_and_what_guessing_gives(
    encoder: Encoder, dataset: Dataset, compute: Compute
) -> None:
    found = evaluate("few_shot", encoder, dataset, compute, ways=2, shots=1, queries=5, episodes=40)
    right = (found.arrays["labels"] == found.arrays["predictions"]).reshape(40, 10).mean(axis=1) * 100
    assert found.metrics["accuracy"] == pytest.approx(right.mean())
    assert found.metrics["accuracy_std"] == pytest.approx(right.std(ddof=1))
    assert found.metrics["accuracy_ci95"] == pytest.approx(1.96 * right.std(ddof=1) / 40**0.5)
    assert json.loads(found.files["chance.json"]) == {"accuracy": 50.0}
    episodes = found.arrays["labels"].reshape(40, 10)
    assert {len(np.unique(episode)) for episode in episodes} == {2}
    assert len({tuple(np.unique(episode)) for episode in episodes}) == 3  # every pair of classes is drawn


def test_few_shot_draws_by_the_trial_and_more_shots_help(encoder: Encoder, dataset: Dataset, compute: Compute) -> None:
    def few(trial: int = 0, **options: Any) -> Evaluation:
        return evaluate("few_shot", encoder, dataset, compute, trial, **{"queries": 5, "episodes": 60, **options})

    assert few().metrics == few().metrics != few(trial=1).metrics
    one, ten = (few(shots=shots).metrics["accuracy"] for shots in (1, 10))
    assert one is not None
    assert ten is not None
    assert one < ten
    assert few(classifier="logistic").metrics != few().metrics


@pytest.mark.parametrize("options", [{"ways": 4}, {"shots": 21}, {"queries": 11}])
def test_few_shot_refuses_what_no_class_has(
    encoder: Encoder, dataset: Dataset, compute: Compute, options: dict[str, int]
) -> None:
    with pytest.raises(DataError, match=r"few_shot: an episode needs . classes with .* lower `ways`, `shots` or"):
        evaluate("few_shot", encoder, dataset, compute, **{"queries": 5, "episodes": 2, **options})
