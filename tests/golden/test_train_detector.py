"""The stage `transfer_knowledge` for detectors, pinned: where these numbers change, cached artifacts are wrong."""

from typing import Any

import pins
import pytest
import torch
from scenes import squares

from tessera.data.normalization import Normalization
from tessera.detection.augment import AUGMENTATIONS
from tessera.detection.train import train_detector
from tessera.jobs import TransferKnowledge
from tessera.models.encoders.cifar_resnet import ResNet8
from tessera.models.encoders.options import ResNet8Options
from tessera.models.store import StoredEncoder
from tessera.models.trained import Trained
from tessera.training.compute import Compute

CHANGES: dict[str, dict[str, Any]] = {
    "none": {},
    "plain": {"augmentation": "none"},
    "fine_tune": {"transfer": {"name": "fine_tune", "lr_factor": 0.5, "freeze_layers": 1}},
}
PINNED: dict[str, dict[str, float]] = {
    "fine_tune": {
        "loss[0]": 30.72928157,
        "localization[0]": 5.952940355,
        "classification[0]": 24.77634122,
        "positives[0]": 2.125,
        "loss[1]": 26.7054812,
        "localization[1]": 4.931019844,
        "classification[1]": 21.77446136,
        "positives[1]": 1.5,
        "encoder.conv1": 97.69322005,
        "encoder.bn1": 49.7495593,
        "encoder.layer1": 551.2522395,
        "encoder.layer2": 1560.686754,
        "encoder.layer3": 3979.469715,
        "pyramid.scale": 3686.514823,
        "pyramid.blocks": 53563.72493,
        "head.classification_head": 4125.94623,
        "head.regression_head": 4118.813603,
        "outputs": 2.423210466,
    },
    "none": {
        "loss[0]": 31.61811816,
        "localization[0]": 5.794058926,
        "classification[0]": 25.82405924,
        "positives[0]": 2.125,
        "loss[1]": 28.3496022,
        "localization[1]": 5.988397132,
        "classification[1]": 22.36120507,
        "positives[1]": 1.5,
        "encoder.conv1": 41.97052475,
        "encoder.bn1": 48.27276256,
        "encoder.layer1": 551.9241021,
        "encoder.layer2": 1327.608874,
        "encoder.layer3": 3471.294808,
        "pyramid.scale": 3686.515188,
        "pyramid.blocks": 53590.74548,
        "head.classification_head": 4126.054358,
        "head.regression_head": 4118.963765,
        "outputs": 2.565204139,
    },
    "plain": {
        "loss[0]": 28.33699431,
        "localization[0]": 4.232742908,
        "classification[0]": 24.1042514,
        "positives[0]": 3.375,
        "loss[1]": 21.94915392,
        "localization[1]": 3.803090023,
        "classification[1]": 18.1460639,
        "positives[1]": 3,
        "encoder.conv1": 42.00006042,
        "encoder.bn1": 48.34384336,
        "encoder.layer1": 552.6733933,
        "encoder.layer2": 1328.636066,
        "encoder.layer3": 3471.447768,
        "pyramid.scale": 3686.514562,
        "pyramid.blocks": 53583.48604,
        "head.classification_head": 4125.876102,
        "head.regression_head": 4118.924812,
        "outputs": 2.530882128,
    },
}


def source() -> StoredEncoder:
    encoder = pins.fill(ResNet8(ResNet8Options())).eval()
    return StoredEncoder(encoder, ResNet8Options(), Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))


def train(cpu: Compute, **changes: Any) -> Trained:
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
    return train_detector(settings, given, squares(), cpu, trial=0, resume=None)


@pytest.fixture(autouse=True)
def without_colors(monkeypatch: pytest.MonkeyPatch) -> None:
    """SSD's views but for their first step, torchvision's changes of colour.

    They round to bytes four times, so that instruction sets part by a level here and there, which a training shows in
    the fourth digit. What they are is tested in tests/detection/test_augment.py.
    """
    steps = AUGMENTATIONS["ssd"]
    monkeypatch.setitem(AUGMENTATIONS, "ssd", lambda mean: steps(mean)[1:])


@pytest.mark.parametrize("which", sorted(CHANGES))
def test_results_change_only_with_the_version(which: str, cpu: Compute) -> None:
    """Other processors, libraries and threads changed these numbers by at most 2e-13 of them."""
    assert TransferKnowledge.version == 1, "pin the new version's numbers"
    trained = train(cpu, **CHANGES[which])
    figures = ("loss", "localization", "classification", "positives")
    found = {f"{name}[{i}]": row[name] for i, row in enumerate(trained.history) for name in figures}
    found |= pins.projections(trained.network.state_dict(), depth=2)
    images = torch.randint(256, (4, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found["outputs"] = sum(out.abs().mean().item() for out in trained.network.predict(images / 64 - 2))
    pins.compare(found, PINNED[which], "TransferKnowledge")
