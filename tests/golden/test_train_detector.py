"""The stage `transfer_knowledge` for detectors, pinned: where these numbers change, cached artifacts are wrong."""

from typing import Any

import pins
import pytest
import torch
from scenes import squares

from tessera.detection.train import train_detector
from tessera.models.encoders.cifar_resnet import ResNet8
from tessera.models.encoders.options import ResNet8Options
from tessera.models.store import StoredEncoder
from tessera.study.jobs import TransferKnowledge
from tessera.training import Compute, Trained

CHANGES: dict[str, dict[str, Any]] = {
    "none": {},
    "plain": {"augmentation": "none"},
    "fine_tune": {"transfer": {"name": "fine_tune", "lr_factor": 0.5, "freeze_layers": 1}},
}
PINNED: dict[str, dict[str, float]] = {
    "fine_tune": {
        "loss[0]": 30.87848497,
        "localization[0]": 6.309938287,
        "classification[0]": 24.56854669,
        "positives[0]": 2.875,
        "loss[1]": 28.04760603,
        "localization[1]": 6.847346569,
        "classification[1]": 21.20025946,
        "positives[1]": 1.875,
        "encoder.conv1": 97.69322005,
        "encoder.bn1": 49.7495593,
        "encoder.layer1": 549.708628,
        "encoder.layer2": 1560.216304,
        "encoder.layer3": 3982.164215,
        "pyramid.scale": 3686.514329,
        "pyramid.blocks": 53575.90837,
        "head.classification_head": 4125.866218,
        "head.regression_head": 4119.22981,
        "outputs": 2.369393662,
    },
    "none": {
        "loss[0]": 29.60097159,
        "localization[0]": 4.967978484,
        "classification[0]": 24.6329931,
        "positives[0]": 2.875,
        "loss[1]": 27.56993857,
        "localization[1]": 5.99650942,
        "classification[1]": 21.57342915,
        "positives[1]": 1.875,
        "encoder.conv1": 41.74144892,
        "encoder.bn1": 48.16331254,
        "encoder.layer1": 552.6603407,
        "encoder.layer2": 1327.736983,
        "encoder.layer3": 3470.930787,
        "pyramid.scale": 3686.514785,
        "pyramid.blocks": 53599.8,
        "head.classification_head": 4125.979652,
        "head.regression_head": 4118.615145,
        "outputs": 2.556982157,
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
    return StoredEncoder(encoder, ResNet8Options(), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


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


@pytest.mark.parametrize("which", sorted(CHANGES))
def test_results_change_only_with_the_version(which: str, cpu: Compute) -> None:
    """Other processors, libraries and threads changed these numbers by at most ?."""
    assert TransferKnowledge.version == 1, "pin the new version's numbers"
    trained = train(cpu, **CHANGES[which])
    figures = ("loss", "localization", "classification", "positives")
    found = {f"{name}[{i}]": row[name] for i, row in enumerate(trained.history) for name in figures}
    found |= pins.projections(trained.network.state_dict(), depth=2)
    images = torch.randint(256, (4, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found["outputs"] = sum(out.abs().mean().item() for out in trained.network.predict(images / 64 - 2))
    pins.compare(found, PINNED[which], "TransferKnowledge")
