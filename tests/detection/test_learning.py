"""A whole training of a small detector: it finds objects that it has seen."""

from pathlib import Path

import pytest
import torch

from tessera.data.datasets.options.digits import DigitsScenesOptions
from tessera.data.detection import DetectionDataset, load_detection
from tessera.data.prepare import prepare_dataset
from tessera.detection.protocol import Detection
from tessera.detection.train import train_detector
from tessera.jobs import TransferKnowledge
from tessera.protocols.base import Measured
from tessera.protocols.options import DetectionOptions
from tessera.training.compute import Compute


@pytest.mark.slow
def test_a_detector_finds_the_objects_that_it_was_trained_on(tmp_path: Path) -> None:
    cpu = Compute(torch.device("cpu"), "float32")
    prepare_dataset(DigitsScenesOptions(image_size=64, num_train=12, num_test=4), Path(), tmp_path)
    dataset = load_detection(tmp_path)
    seen = DetectionDataset(dataset.classes, *dataset.normalization, {**dataset.splits, "test": dataset.train})
    maps = []
    for rate, epochs in ((1e-12, 1), (0.02, 8)):
        settings = TransferKnowledge.model_validate({
            "transfer": {"name": "none"},
            "network": {"name": "ssd300", "encoder": {"name": "resnet8"}, "image_size": 64},
            "label_fraction": 1.0,
            "epochs": epochs,
            "first_stage_epochs": 0,
            "iterations": 25,
            "batch_size": 6,
            "augmentation": "none",
            "optimizer": {"learning_rate": rate, "milestones": [0.9], "warmup": 0.05},
        })  # fmt: skip
        trained = train_detector(settings, None, dataset, cpu, trial=0, resume=None)
        about = trained.about
        found = Detection(DetectionOptions()).evaluate(
            Measured(trained.network, about.normalization), seen, None, cpu, 0
        )
        maps.append(found.metrics["map_area"])
        losses = [row["loss"] for row in trained.history]
    assert losses[-1] < losses[0] / 2
    assert maps[1] > maps[0] + 20, maps
