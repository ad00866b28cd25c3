"""Real archives, where the variable TESSERA_DATA names a folder that holds them."""

import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tessera.data.datasets.image_folder import ImageFolder
from tessera.data.datasets.options.image_folder import ImageFolderOptions
from tessera.data.datasets.options.voc import VocFolderOptions
from tessera.data.detection import load_detection
from tessera.data.prepare import prepare_dataset


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


def test_bccd(tmp_path: Path) -> None:
    """Against a plain parse, by pattern, of the very archive."""
    root = root_of("bccd.tar.xz")
    files = {}
    with tarfile.open(root / "bccd.tar.xz") as archive:
        for member in archive:
            if member.name.endswith((".xml", ".txt")):
                files[member.name] = archive.extractfile(member).read().decode()  # type: ignore[union-attr]
    metrics = prepare_dataset(VocFolderOptions(path="bccd.tar.xz", image_size=64, damaged="refuse"), root, tmp_path)
    dataset = load_detection(tmp_path)
    assert dataset.classes == ("Platelets", "RBC", "WBC")
    count = 0
    for split, listed in (("train", "trainval"), ("test", "test")):
        found = dataset.splits[split]
        names = files[f"bccd/ImageSets/Main/{listed}.txt"].split()
        assert [Path(found.name(i)).stem for i in range(len(found))] == names
        for i, name in enumerate(names):
            text, objects = files[f"bccd/Annotations/{name}.xml"], found.objects(i)
            assert [dataset.classes[label] for label in objects.labels.tolist()] == re.findall("<name>(.*?)<", text)
            corners = [[int(v) for v in re.findall(f"<{tag}>(.*?)<", text)] for tag in ("xmin", "ymin", "xmax", "ymax")]
            boxes = torch.tensor(corners, dtype=torch.float32).T.reshape(-1, 4) - torch.tensor([1.0, 1.0, 0.0, 0.0])
            count += len(boxes)
            assert torch.equal(objects.boxes, boxes.clamp(min=0).minimum(torch.tensor([640.0, 480.0, 640.0, 480.0])))
            assert found.size(i) == (480, 640)
    assert (len(dataset.train), len(dataset.test), count) == (292, 72, 4888)
    assert metrics == {
        "num_train": 292, "num_test": 72, "num_classes": 3, "num_objects": 4888, "num_difficult": 0, "num_skipped": 0,
    }  # fmt: skip


@pytest.mark.slow
def test_all_of_cifar10() -> None:
    raw = ImageFolder(ImageFolderOptions(path="cifar10.tar.xz", image_size=32)).read(root_of("cifar10.tar.xz"))
    assert np.bincount(raw.labels[raw.splits["train"]]).tolist() == [5000] * 10
    assert np.bincount(raw.labels[raw.splits["test"]]).tolist() == [1000] * 10
    mean = raw.images[raw.splits["train"]].mean(axis=(0, 1, 2)) / 255
    assert mean.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=2e-3)  # as is known of CIFAR-10
