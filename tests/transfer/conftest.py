"""A tiny target, a tiny teacher, and settings that train in a blink."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tessera.data.normalization import Normalization
from tessera.data.store import Dataset, Split
from tessera.jobs import TransferKnowledge
from tessera.models.encoders.cifar_resnet import ResNet8
from tessera.models.encoders.options import ResNet8Options
from tessera.models.heads.vectors import VectorHead
from tessera.models.networks.options import ReducedAlexNetOptions
from tessera.models.networks.reduced_alexnet import ReducedAlexNet
from tessera.models.store import StoredClassifier
from tessera.training.compute import Compute
from tessera.transfer.images import TargetImages
from tessera.transfer.teacher import Teacher

MakeSettings = Callable[..., TransferKnowledge]
SOFT: dict[str, Any] = {"probe_epochs": 3, "probe_hidden": [16], "clusters": 5}
SMALL: dict[str, dict[str, Any]] = {
    "soft_targets": SOFT,
    "cetl": {"fisher_batches": 1, "width": 8},
    "crd": {"negatives": 20, "width": 8},
    "combination": {"of": [{"method": "fsp", "mode": "joint"}, {"method": "soft_targets", **SOFT}]},
}


@pytest.fixture
def compute() -> Compute:
    return Compute(torch.device("cpu"), "float32")


@pytest.fixture
def dataset() -> Dataset:
    """Three classes of 20 images of 16 px: noise over a grating whose direction is the class."""
    generator = torch.Generator().manual_seed(1)

    def split(per_class: int) -> Split:
        labels = torch.arange(3).repeat_interleave(per_class)
        across, down = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="xy")
        gratings = torch.stack([torch.sin(across.float()), torch.sin(down.float()), torch.sin((across + down).float())])
        noise = 40 * torch.randn(len(labels), 3, 16, 16, generator=generator)
        images = 128 + 60 * gratings[labels][:, None] + noise
        return Split(images.clamp(0, 255).to(torch.uint8), labels)

    splits = {"train": split(20), "test": split(4)}
    return Dataset(("a", "b", "c"), 16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), splits)


@pytest.fixture
def teacher(dataset: Dataset) -> Teacher:
    """Untrained, but with batch-norm statistics of the images."""
    torch.manual_seed(5)
    encoder = ResNet8(ResNet8Options())
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # cumulative: one pass is enough
    mean, std = (0.45, 0.5, 0.55), (0.2, 0.25, 0.3)
    pixels = dataset.train.images[::2].float() / 255
    with torch.no_grad():
        encoder((pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1))
    head = VectorHead(encoder.num_features, (6, 5), 3).eval()
    return Teacher(encoder, ResNet8Options(), Normalization(mean, std), StoredClassifier(head, (6, 5), dataset.classes))


@pytest.fixture
def images(dataset: Dataset) -> TargetImages:
    """All training images, unchanged, normalised to about [-2, 2]."""
    return TargetImages(dataset, torch.arange(len(dataset.train)), None, lambda pixels: (pixels - 0.5) / 0.25)


@pytest.fixture
def network() -> ReducedAlexNet:
    """A student without dropout that measures: what it says of an image depends on nothing else."""
    options = ReducedAlexNetOptions(width="quarter", hidden=16, dropout=0)
    return ReducedAlexNet(options, num_classes=3, image_size=16).eval()


@pytest.fixture
def settings() -> MakeSettings:
    """Makes settings; `transfer` is a name or mapping, which may name network and optimiser; the rest the stage has."""

    def make(transfer: str | dict[str, Any], **changes: Any) -> TransferKnowledge:
        named = {"name": transfer} if isinstance(transfer, str) else dict(transfer)
        network = named.pop("network", {"name": "reduced_alexnet", "width": "quarter", "hidden": 16})
        optimizer = named.pop("optimizer", {"learning_rate": 0.01, "milestones": [0.5]})
        content = {
            "transfer": {**SMALL.get(named["name"], {}), **named},
            "network": network,
            "label_fraction": 1.0,
            "epochs": 2,
            "first_stage_epochs": 2,
            "iterations": 2,
            "batch_size": 8,
            "augmentation": "crop_flip",
            "optimizer": optimizer,
        }
        return TransferKnowledge.model_validate({**content, **changes})

    return make
