"""A small dataset whose classes differ in colour, and networks to measure on it."""

import pytest
import torch

from tessera.data.store import Dataset, Split
from tessera.models.encoders.base import Encoder
from tessera.models.encoders.cifar_resnet import ResNet8
from tessera.models.encoders.options import ResNet8Options
from tessera.training.compute import Compute


def draw(number: int, num_classes: int, seed: int, noise: float) -> Split:
    generator = torch.Generator().manual_seed(seed)
    colors = torch.rand(num_classes, 3, 1, 1, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(number) % num_classes
    pixels = colors[labels] + noise * torch.randn(number, 3, 8, 8, generator=generator)
    return Split((pixels.clamp(0, 1) * 255).to(torch.uint8), labels)


@pytest.fixture
def dataset() -> Dataset:
    splits = {"train": draw(60, 3, seed=2, noise=0.3), "test": draw(30, 3, seed=3, noise=0.3)}
    return Dataset(("a", "b", "c"), 8, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3), splits)


@pytest.fixture
def encoder() -> Encoder:
    return ResNet8(ResNet8Options())


@pytest.fixture
def compute() -> Compute:
    return Compute(torch.device("cpu"), "float32")
