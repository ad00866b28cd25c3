"""The map of features: its points, its neighbours, and what cannot be mapped."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from tessera.data.store import Dataset, Split
from tessera.errors import DataError
from tessera.models.encoders.base import Encoder
from tessera.protocols.base import Evaluation, Measured
from tessera.protocols.options import TsneOptions
from tessera.protocols.tsne import Tsne, map_points
from tessera.training.compute import Compute


def measure(encoder: Encoder, dataset: Dataset, compute: Compute, trial: int = 0, **options: Any) -> Evaluation:
    measured = Measured(encoder, dataset.normalization)
    return Tsne(TsneOptions(**options)).evaluate(measured, dataset, dataset.train, compute, trial)


def test_groups_that_lie_apart_stay_apart_and_equal_points_are_no_error() -> None:
    draw = np.random.default_rng(0)
    centres = np.repeat(np.eye(3, 8) * 20, 30, axis=0)
    points = (centres + draw.normal(size=centres.shape)).astype(np.float32)
    coordinates = map_points(points, 10.0, 0)
    assert (coordinates.shape, coordinates.dtype) == ((90, 2), np.float32)
    distance = np.linalg.norm(coordinates[:, None] - coordinates, axis=2)
    np.fill_diagonal(distance, np.inf)
    assert np.array_equal(np.arange(90) // 30, distance.argmin(axis=1) // 30)
    assert np.array_equal(coordinates, map_points(points, 10.0, 0))
    assert np.isfinite(map_points(np.ones((8, 4), dtype=np.float32), 30.0, 0)).all()


def test_accuracy_is_that_of_the_nearest_other_point(encoder: Encoder, dataset: Dataset, compute: Compute) -> None:
    found = measure(encoder, dataset, compute)
    labels, predictions, coordinates = (found.arrays[name] for name in ("labels", "predictions", "coordinates"))
    for index, point in enumerate(coordinates.astype(np.float64)):  # a plain loop
        others = [(float(((point - other) ** 2).sum()), row) for row, other in enumerate(coordinates) if row != index]
        assert predictions[index] == labels[min(others)[1]]
    assert found.metrics["accuracy"] == pytest.approx(100 * np.mean(predictions == labels))


def test_points_are_labelled_test_images_by_the_trial_alone(
    encoder: Encoder, dataset: Dataset, compute: Compute
) -> None:
    test = dataset.test
    hidden = Split(test.images, torch.where(torch.arange(len(test)) % 3 == 0, -1, test.labels))
    partly = Dataset(dataset.classes, 8, *dataset.normalization, {"train": dataset.train, "test": hidden})
    one = measure(encoder, partly, compute, points=12)
    with torch.no_grad():  # another encoder is shown by the same images
        for weight in encoder.parameters():
            weight.mul_(2.0).add_(0.1)
    other = measure(encoder, partly, compute, points=12)
    assert np.array_equal(one.arrays["rows"], other.arrays["rows"])
    assert not np.array_equal(one.arrays["coordinates"], other.arrays["coordinates"])
    labels = hidden.labels[hidden.labels >= 0].numpy()
    assert np.array_equal(one.arrays["labels"], labels[one.arrays["rows"]])
    assert len(set(one.arrays["rows"].tolist())) == 12
    assert not np.array_equal(one.arrays["rows"], measure(encoder, partly, compute, 1, points=12).arrays["rows"])
    about = json.loads(one.files["map.json"])
    assert about == {"classes": list(dataset.classes), "layer": [*encoder.layer_channels][-1], "of": len(labels)}


def test_a_handful_of_images_is_too_few(encoder: Encoder, dataset: Dataset, compute: Compute) -> None:
    test = dataset.test
    hidden = Split(test.images, torch.where(torch.arange(len(test)) < 4, test.labels, -1))
    few = Dataset(dataset.classes, 8, *dataset.normalization, {"train": dataset.train, "test": hidden})
    with pytest.raises(DataError, match="has 4 labelled images, but a map needs 5"):
        measure(encoder, few, compute)
