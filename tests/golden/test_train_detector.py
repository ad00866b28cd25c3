"""Pins the results of stage `transfer_knowledge` for detectors, and sees that one learns.

If a figure changed because results were meant to change, bump `TransferKnowledge.version` and pin the new figures.
"""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tessera.data.datasets.options import DigitsScenesOptions
from tessera.data.detection import DetectionDataset, load_detection
from tessera.data.prepare import prepare_dataset
from tessera.detection.protocol import Detection
from tessera.detection.train import train_detector
from tessera.models.encoders.cifar_resnet import ResNet8
from tessera.models.encoders.options import ResNet8Options
from tessera.models.store import StoredEncoder
from tessera.study.jobs import TransferKnowledge
from tessera.targets.options import DetectionOptions
from tessera.training import Compute, Trained

VERSION = 1

# Mean loss of each epoch, and the mean magnitude of the trained network's outputs.
GOLDEN: dict[str, tuple[list[float], float]] = {
    "fine_tune": ([36.3446, 26.9584], 2.08295),
    "none": ([36.3636, 29.2728], 2.11887),
    "plain": ([35.3809, 27.5872], 2.12106),
}

CHANGES: dict[str, dict[str, Any]] = {
    "none": {},
    "plain": {"augmentation": "none"},
    "fine_tune": {"transfer": {"name": "fine_tune", "lr_factor": 0.5, "freeze_layers": 1}},
}

CPU = Compute(torch.device("cpu"), "float32")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DetectionDataset:
    folder = tmp_path_factory.mktemp("scenes")
    prepare_dataset(DigitsScenesOptions(image_size=64, num_train=12, num_test=4), Path(), folder)
    return load_detection(folder)


@cache
def source() -> StoredEncoder:
    torch.manual_seed(0)
    return StoredEncoder(ResNet8(ResNet8Options()).eval(), ResNet8Options(), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def train(dataset: DetectionDataset, **changes: Any) -> Trained:
    settings = TransferKnowledge.model_validate({
        "transfer": {"name": "none"},
        "network": {"name": "ssd300", "encoder": {"name": "resnet8"}, "image_size": 64},
        "label_fraction": 1.0,
        "epochs": 2,
        "first_stage_epochs": 0,
        "iterations": 2,
        "batch_size": 4,
        "augmentation": "ssd",
        "optimizer": {"learning_rate": 0.01},
        **changes,
    })  # fmt: skip
    given = source() if settings.transfer.needs_source else None
    return train_detector(settings, given, dataset, CPU, trial=0, resume=None)


@pytest.mark.parametrize("which", sorted(CHANGES))
def test_results_are_those_of_this_version(which: str, dataset: DetectionDataset) -> None:
    trained = train(dataset, **CHANGES[which])
    losses = [row["loss"] for row in trained.history]
    images = torch.stack([dataset.test.image(index) for index in range(4)])
    with torch.no_grad():
        size = sum(out.abs().mean().item() for out in trained.network.predict(images / 64 - 2))
    assert TransferKnowledge.version == VERSION, "results of another version: pin them anew"
    found = f"{which}: {losses}, {size}. If that is meant, bump TransferKnowledge.version and pin the new figures."
    assert losses == pytest.approx(GOLDEN[which][0], rel=1e-3), found
    assert size == pytest.approx(GOLDEN[which][1], rel=1e-3), found


@pytest.mark.slow
def test_a_detector_finds_the_objects_that_it_was_trained_on(dataset: DetectionDataset) -> None:
    seen = DetectionDataset(dataset.classes, dataset.mean, dataset.std, {**dataset.splits, "test": dataset.train})
    maps = []
    for rate, epochs in ((1e-12, 1), (0.02, 8)):
        trained = train(
            dataset, epochs=epochs, iterations=25, batch_size=6, augmentation="none",
            optimizer={"learning_rate": rate, "milestones": [0.9], "warmup": 0.05},
        )  # fmt: skip
        about = trained.about
        found = Detection(DetectionOptions()).evaluate(trained.network, about.mean, about.std, seen, None, CPU, 0)
        maps.append(found.metrics["map_area"])
        losses = [row["loss"] for row in trained.history]
    assert losses[-1] < losses[0] / 2
    assert maps[1] > maps[0] + 20, maps
