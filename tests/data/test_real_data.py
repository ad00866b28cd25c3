"""Real archives, where the variable TESSERA_DATA names a folder that holds them."""

import os
from pathlib import Path

import numpy as np
import pytest

from tessera.data.datasets.image_folder import ImageFolder
from tessera.data.datasets.options import ImageFolderOptions


def root_of(archive: str) -> Path:
    root = os.environ.get("TESSERA_DATA")
    if root is None or not Path(root, archive).exists():
        pytest.skip(f"TESSERA_DATA names no folder with {archive}")
    return Path(root)


def test_cifar10() -> None:
    options = ImageFolderOptions(path="cifar10.tar.xz", image_size=32, classes=["truck", "cat"])
    raw = ImageFolder(options).read(root_of("cifar10.tar.xz"))
    assert options.word() == "cifar10"
    assert raw.classes == ["truck", "cat"]
    assert np.bincount(raw.labels[raw.splits["train"]]).tolist() == [5000, 5000]
    assert np.bincount(raw.labels[raw.splits["test"]]).tolist() == [1000, 1000]
    assert raw.images.mean() == pytest.approx(126, abs=8)  # CIFAR-10's mean is 120.7
    assert len({image.tobytes() for image in raw.images[:200]}) > 190


def test_tinyimagenet() -> None:
    classes = ["n02124075", "n03100240"]
    options = ImageFolderOptions(path="tinyimagenet.tar.xz", image_size=48, test="val", classes=classes)
    raw = ImageFolder(options).read(root_of("tinyimagenet.tar.xz"))
    assert np.bincount(raw.labels[raw.splits["train"]]).tolist() == [100, 100]
    assert np.bincount(raw.labels[raw.splits["test"]]).tolist() == [10, 10]
    assert raw.images.shape == (220, 48, 48, 3)


@pytest.mark.slow
def test_all_of_cifar10() -> None:
    raw = ImageFolder(ImageFolderOptions(path="cifar10.tar.xz", image_size=32)).read(root_of("cifar10.tar.xz"))
    assert np.bincount(raw.labels[raw.splits["train"]]).tolist() == [5000] * 10
    assert np.bincount(raw.labels[raw.splits["test"]]).tolist() == [1000] * 10
    mean = raw.images[raw.splits["train"]].mean(axis=(0, 1, 2)) / 255
    assert mean.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=2e-3)  # as is known of CIFAR-10
