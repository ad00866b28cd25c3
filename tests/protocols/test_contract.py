"""Every protocol of classes or clusters: exactly its metrics, finite; a seed repeats; the model stays as it is.

Detection reads another kind of dataset, and `tasks` a whole source: tests/detection/test_protocol.py and
tests/multitask/test_protocol_tasks.py ask the same of them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tessera import registry
from tessera.data.store import Dataset, Split, label_subset, save_dataset
from tessera.errors import DataError
from tessera.models.encoders.base import Encoder, LayeredNetwork
from tessera.protocols import PARTS
from tessera.protocols.base import Evaluation, Measured, Protocol
from tessera.training.compute import Compute
from tessera.training.randomness import generator_of

QUICK: dict[str, dict[str, Any]] = {
    "clustering": {"iterations": 4, "update_interval": 2, "restarts": 2, "batch_size": 16, "tolerance": 0.0},
    "few_shot": {"shots": 2, "queries": 2, "episodes": 5},
}
QUERIES = {"few_shot": 3 * 2 * 5}  # of those that score some test images several times


class TinyNetwork(LayeredNetwork):
    """Logits of the mean colour."""

    layer_channels = {"color": 3}  # noqa: RUF012
    stage_pairs: dict[str, Sequence[tuple[str, str]]] = {}  # noqa: RUF012

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.norm, self.classifier = nn.BatchNorm2d(3), nn.Linear(3, num_classes)

    def layers(self, images: Tensor) -> dict[str, Tensor]:
        return {"color": self.norm(images)}

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.layers(images)["color"].mean((2, 3)))
        return logits


def protocol(name: str, **options: Any) -> Protocol:
    part = registry.find("protocol", name)
    made: Protocol = registry.load("protocol", name)(part.options(name=name, **{**QUICK.get(name, {}), **options}))
    return made


OF_CLASSES = [name for name, part in PARTS.items() if part.options.scores == "class"]  # type: ignore[attr-defined]


@pytest.fixture(params=sorted(name for name in OF_CLASSES if PARTS[name].options.measures != "source"))  # type: ignore[attr-defined]
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(name: str, encoder: Encoder) -> nn.Module:
    return {"encoder": encoder, "network": TinyNetwork(3)}[PARTS[name].options.measures]  # type: ignore[attr-defined]


def measure(
    name: str, model: Any, dataset: Dataset, compute: Compute, trial: int = 0, resume: Path | None = None
) -> Evaluation:
    return protocol(name).evaluate(
        Measured(model, dataset.normalization), dataset, dataset.train, compute, trial, resume
    )


def test_metrics_are_those_of_the_options(name: str, model: Any, dataset: Dataset, compute: Compute) -> None:
    found = measure(name, model, dataset, compute)
    assert [*found.metrics] == [figure.name for figure in PARTS[name].options.reports]  # type: ignore[attr-defined]
    figures = {key: value for key, value in found.metrics.items() if isinstance(value, float) and np.isfinite(value)}
    assert figures == found.metrics
    assert all(0 <= value <= 100 for key, value in figures.items() if "accuracy" in key or "recall" in key)
    accuracy = 100 * np.mean(found.arrays["labels"] == found.arrays["predictions"])
    assert found.metrics["accuracy"] == pytest.approx(accuracy)
    assert found.arrays["labels"].dtype == found.arrays["predictions"].dtype == np.int64


def test_loads_a_dataset_and_the_labels_that_transfer_read(name: str, tmp_path: Path, compute: Compute) -> None:
    images = np.random.default_rng(0).integers(256, size=(40, 8, 8, 3), dtype=np.uint8)
    splits = {"train": np.arange(30), "test": np.arange(30, 40)}
    save_dataset(tmp_path, images, np.arange(40) % 3, splits, ["a", "b", "c"])
    made = protocol(name)
    loaded = made.load(tmp_path, compute.device)
    assert np.array_equal(loaded.test.images.permute(0, 2, 3, 1).numpy(), images[30:])
    known = label_subset(loaded.train.labels, 0.2, generator_of(5, "labels"))
    labeled = made.labeled(loaded, 0.2, 5)
    assert torch.equal(labeled.images, loaded.train.images[known])
    assert len(labeled) == 6
    assert not torch.equal(made.labeled(loaded, 0.2, 6).images, labeled.images)


def test_a_seed_repeats(name: str, model: Any, dataset: Dataset, compute: Compute) -> None:
    first, again = measure(name, model, dataset, compute), measure(name, model, dataset, compute)
    assert first.metrics == again.metrics
    assert first.history == again.history
    assert all(np.array_equal(first.arrays[key], again.arrays[key]) for key in first.arrays)


def test_the_model_stays_as_it_is(name: str, model: Any, dataset: Dataset, compute: Compute) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    measure(name, model, dataset, compute)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training


def test_only_labelled_images_are_scored(name: str, model: Any, dataset: Dataset, compute: Compute) -> None:
    test = dataset.test
    hidden = Split(test.images, torch.where(torch.arange(len(test)) < 10, -1, test.labels))
    partly = Dataset(dataset.classes, 8, *dataset.normalization, {"train": dataset.train, "test": hidden})
    found = measure(name, model, partly, compute)
    assert found.arrays["labels"].min() >= 0
    scored = QUERIES.get(name, len(test) - 10)
    assert len(found.arrays["labels"]) in (scored, len(dataset.train) + len(test) - 10)


def test_a_target_without_labels_is_refused(name: str, model: Any, dataset: Dataset, compute: Compute) -> None:
    blind = {key: Split(split.images, torch.full_like(split.labels, -1)) for key, split in dataset.splits.items()}
    with pytest.raises(DataError, match="no labelled images"):
        measure(name, model, Dataset(dataset.classes, 8, *dataset.normalization, blind), compute)
