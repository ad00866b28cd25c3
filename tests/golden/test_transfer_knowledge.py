"""Pins the results of stage `transfer_knowledge`.

If a figure changed because results were meant to change, bump `TransferKnowledge.version` and pin the new figures.
"""

from typing import Any

import pytest
import torch
from torch import nn

from tessera.data.store import Dataset, Split
from tessera.models.encoders.cifar_resnet import ResNet8
from tessera.models.encoders.options import ResNet8Options
from tessera.study.jobs import TransferKnowledge
from tessera.training import Compute
from tessera.transfer.base import Teacher
from tessera.transfer.train import train_network

VERSION = 1

# Mean loss of each epoch, and the mean magnitude of the trained network's logits.
GOLDEN: dict[str, tuple[list[float], float]] = {
    "cetl": ([0.981251, 0.962652], 0.00627548),
    "channel_group": ([8.15076, 4.04733, 0.69087, 0.673169], 0.00445542),
    "clusters": ([3.83601, 3.51158], 0.00617285),
    "common": ([9.78994, 8.37249, 0.691402, 0.67042], 0.00496544),
    "fine_tune": ([0.712055, 0.697222], 0.0277933),
    "joint": ([405.378, 343.253], 0.00647675),
    "none": ([0.691371, 0.671126], 0.0063014),
    "probe": ([3.81098, 3.7994], 0.00619364),
    "student_conv1x1": ([9.81213, 9.26578, 0.69131, 0.671192], 0.0047438),
}

METHODS: dict[str, dict[str, Any]] = {
    "none": {"name": "none"},
    "fine_tune": {"name": "fine_tune", "freeze_layers": 1},
    "probe": {"name": "soft_targets", "probe_epochs": 3, "probe_hidden": [8]},
    "clusters": {"name": "soft_targets", "teacher": "clusters", "clusters": 2},
    "common": {"name": "fsp", "width": 8},
    "channel_group": {"name": "fsp", "align": "channel_group", "images": "labeled"},
    "student_conv1x1": {"name": "fsp", "align": "student_conv1x1", "pairs": "within_stage"},
    "joint": {"name": "fsp", "mode": "joint", "width": 8},
    "cetl": {"name": "cetl", "fisher_batches": 1, "width": 8},
}


def dataset() -> Dataset:
    labels = torch.arange(2).repeat(16)
    ramp = torch.linspace(0, 200, 16)
    images = torch.where(labels.view(-1, 1, 1) == 1, ramp[None], ramp[:, None]).round()[:, None].repeat(1, 3, 1, 1)
    images = images + torch.randint(0, 50, (32, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    train = Split(images.to(torch.uint8), labels)
    return Dataset(("a", "b"), 16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), {"train": train, "test": train})


def teacher(images: torch.Tensor) -> Teacher:
    torch.manual_seed(0)
    encoder = ResNet8(ResNet8Options())
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        encoder(images / 255 * 4 - 2)
    return Teacher(encoder, ResNet8Options(), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.mark.parametrize("which", sorted(METHODS))
def test_results_are_those_of_this_version(which: str) -> None:
    method, target = METHODS[which], dataset()
    settings = TransferKnowledge.model_validate({
        "transfer": method,
        "network": {"name": "reduced_alexnet", "width": "quarter", "hidden": 8},
        "label_fraction": 0.5,
        "epochs": 2,
        "first_stage_epochs": 2,
        "iterations": 2,
        "batch_size": 8,
        "augmentation": "crop_flip",
        "optimizer": {"learning_rate": 0.02},
    })  # fmt: skip
    source = None if which == "none" else teacher(target.train.images[:].float())
    trained = train_network(settings, source, target, Compute(torch.device("cpu"), "float32"), trial=0, resume=None)
    losses = [row["loss"] for row in trained.history]
    with torch.no_grad():
        size = trained.network(target.test.images[:].float() / 255 * 4 - 2).abs().mean().item()
    assert TransferKnowledge.version == VERSION, "results of another version: pin them anew"
    found = f"{which}: {losses}, {size}. If that is meant, bump TransferKnowledge.version and pin the new figures."
    assert losses == pytest.approx(GOLDEN[which][0], rel=1e-3), found
    assert size == pytest.approx(GOLDEN[which][1], rel=1e-3), found
