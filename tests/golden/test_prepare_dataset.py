"""Pins the results of stage `prepare_dataset`: if they change on purpose, its version must be bumped."""

from pathlib import Path

import numpy as np
import pins
import pytest
import torch
from PIL import Image

from tessera.data.datasets.options.base import DatasetOptions
from tessera.data.datasets.options.digits import DigitsMOptions, DigitsScenesOptions
from tessera.data.datasets.options.image_folder import ImageFolderOptions
from tessera.data.datasets.options.voc import VocFolderOptions
from tessera.data.detection import DetectionDataset, load_detection
from tessera.data.prepare import prepare_dataset
from tessera.data.store import Dataset, load_dataset
from tessera.jobs import PrepareDataset

# Photographs that a library decodes and Pillow resizes: their other releases may differ by a level in some pixels.
DECODED = 1e-4
PINNED: dict[str, dict[str, float]] = {
    "digits_m": {
        "mean[0]": 0.3910885285,
        "mean[1]": 0.3793956394,
        "mean[2]": 0.3762875836,
        "std[0]": 0.3268174651,
        "std[1]": 0.2662190603,
        "std[2]": 0.2821009581,
        "train.axis0": 61521.79458,
        "train.axis1": 144.3262778,
        "train.axis2": 1536.798986,
        "train.axis3": 1557.207541,
        "train.labels": 3535973,
        "test.axis0": 29006.03248,
        "test.axis1": 155.7088675,
        "test.axis2": 1717.005174,
        "test.axis3": 1708.764769,
        "test.labels": 662860,
    },
    "image_folder": {
        "mean[0]": 0.4156035539,
        "mean[1]": 0.4898115809,
        "mean[2]": 0.5553507966,
        "std[0]": 0.1856827362,
        "std[1]": 0.1831255112,
        "std[2]": 0.1819238519,
        "train.axis0": 635.6281829,
        "train.axis1": 204.0654297,
        "train.axis2": 1149.052222,
        "train.axis3": 1065.128056,
        "train.labels": 35,
        "test.axis0": 136,
        "test.axis1": 235.4326172,
        "test.axis2": 1308.1125,
        "test.axis3": 1274.740278,
        "test.labels": 1,
    },
    "digits_scenes": {
        "mean[0]": 0.4009394866,
        "mean[1]": 0.4559162614,
        "mean[2]": 0.4182429295,
        "std[0]": 0.3600248671,
        "std[1]": 0.2872636523,
        "std[2]": 0.310057586,
        "train.boxes[0]": 491390,
        "train.boxes[1]": 397060,
        "train.boxes[2]": 787201,
        "train.boxes[3]": 817842,
        "train.labels": 44158,
        "train.difficult": 0,
        "train.objects": 4315,
        "train.pixels": 201071.2859,
        "test.boxes[0]": 57483,
        "test.boxes[1]": 46119,
        "test.boxes[2]": 97001,
        "test.boxes[3]": 102516,
        "test.labels": 5982,
        "test.difficult": 0,
        "test.objects": 533,
        "test.pixels": 30569.32092,
    },
    "voc_folder": {
        "mean[0]": 0.4427389706,
        "mean[1]": 0.5153930322,
        "mean[2]": 0.5798953957,
        "std[0]": 0.1847992201,
        "std[1]": 0.1830766334,
        "std[2]": 0.1849181054,
        "train.boxes[0]": 378,
        "train.boxes[1]": 365,
        "train.boxes[2]": 1112.5,
        "train.boxes[3]": 728,
        "train.labels": 42,
        "train.difficult": 9,
        "train.objects": 37,
        "train.pixels": 3591.166667,
        "test.boxes[0]": 50,
        "test.boxes[1]": 46,
        "test.boxes[2]": 132.5,
        "test.boxes[3]": 82,
        "test.labels": 8,
        "test.difficult": 3,
        "test.objects": 6,
        "test.pixels": 383.1111111,
    },
}


def prepared(options: DatasetOptions, data_root: Path, folder: Path) -> tuple[dict[str, float], Dataset]:
    folder.mkdir()
    metrics = prepare_dataset(options, data_root, folder)
    return metrics, load_dataset(folder, torch.device("cpu"))


def figures(dataset: Dataset) -> dict[str, float]:
    """Statistics, and sums that depend on the order of images, channels, rows, columns and labels."""
    found = {f"mean[{i}]": value for i, value in enumerate(dataset.mean)}
    found |= {f"std[{i}]": value for i, value in enumerate(dataset.std)}
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        for axis in range(4):
            profile = split.images[:].double().mean([other for other in range(4) if other != axis])
            found[f"{name}.axis{axis}"] = float(profile @ torch.linspace(0, 1, len(profile), dtype=torch.float64))
        found[f"{name}.labels"] = float((split.labels * torch.arange(len(split))).sum())
    return found


def of_boxes(dataset: DetectionDataset) -> dict[str, float]:
    """Statistics, and sums that depend on the order of images, objects, corners and labels."""
    found = {f"mean[{i}]": value for i, value in enumerate(dataset.mean)}
    found |= {f"std[{i}]": value for i, value in enumerate(dataset.std)}
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        every = [split.objects(i) for i in range(len(split))]
        boxes = torch.cat([objects.boxes for objects in every]).double()
        order = torch.arange(1, len(boxes) + 1, dtype=torch.float64)
        found |= {f"{name}.boxes[{i}]": value for i, value in enumerate((order @ boxes).tolist())}
        found[f"{name}.labels"] = float(order @ torch.cat([objects.labels for objects in every]).double())
        found[f"{name}.difficult"] = float(order @ torch.cat([objects.difficult for objects in every]).double())
        found[f"{name}.objects"] = float(sum((i + 1) * len(objects) for i, objects in enumerate(every)))
        found[f"{name}.pixels"] = sum((i + 1) * split.image(i).double().mean().item() for i in range(len(split)))
    return found


def test_digits_m(tmp_path: Path) -> None:
    assert PrepareDataset.version == 1, "pin the new version's numbers"
    metrics, dataset = prepared(DigitsMOptions(copies=1), tmp_path, tmp_path / "out")
    assert metrics == {
        "num_train": 1258, "num_test": 539, "num_unlabeled": 0, "num_classes": 10, "image_size": 32, "num_skipped": 0,
    }  # fmt: skip
    pins.compare(figures(dataset), PINNED["digits_m"], "PrepareDataset", DECODED)


@pytest.mark.parametrize("packed", [False, True])
def test_image_folder(tmp_path: Path, packed: bool) -> None:
    assert PrepareDataset.version == 1, "pin the new version's numbers"
    rows, columns, channels = np.indices((24, 40, 3))
    for number in range(12):
        image = (rows * 5 + columns * (number % 5 + 1) + channels * 20) % 256
        file = tmp_path / f"images/{'ab'[number % 2]}/{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.astype(np.uint8)).save(file)
    options = ImageFolderOptions(path="images", image_size=16, train=None, test=None, packed=packed)
    metrics, dataset = prepared(options, tmp_path, tmp_path / "out")
    assert metrics == {
        "num_train": 10, "num_test": 2, "num_unlabeled": 0, "num_classes": 2, "image_size": 16, "num_skipped": 0,
    }  # fmt: skip
    pins.compare(figures(dataset), PINNED["image_folder"], "PrepareDataset")


def test_digits_scenes(tmp_path: Path) -> None:
    assert PrepareDataset.version == 1, "pin the new version's numbers"
    folder = tmp_path / "out"
    folder.mkdir()
    metrics = prepare_dataset(DigitsScenesOptions(num_train=60, num_test=20), tmp_path, folder)
    dataset = load_detection(folder)
    assert metrics == {
        "num_train": 60, "num_test": 20, "num_classes": 10, "num_objects": 189, "num_difficult": 0, "num_skipped": 0,
    }  # fmt: skip
    pins.compare(of_boxes(dataset), PINNED["digits_scenes"], "PrepareDataset", DECODED)


def test_voc_folder(tmp_path: Path) -> None:
    assert PrepareDataset.version == 1, "pin the new version's numbers"
    corners, tags = [(0, 2, 9, 8), (4, 1, 44, 13), (10, 10, 10.5, 10)], ("xmin", "ymin", "xmax", "ymax")
    for folder in ("Annotations", "JPEGImages"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    rows, columns, channels = np.indices((24, 40, 3))
    for number in range(9):
        image = (rows * 5 + columns * (number % 5 + 1) + channels * 20) % 256
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / f"set/JPEGImages/{number}.png")
        objects = ""
        for place, box in enumerate(corners[: number % 4]):
            written = "".join(f"<{tag}>{value + number}</{tag}>" for tag, value in zip(tags, box, strict=True))
            about = f"<name>{'abc'[(number + place) % 3]}</name><difficult>{place // 2}</difficult>"
            objects += f"<object>{about}<bndbox>{written}</bndbox></object>"
        (tmp_path / f"set/Annotations/{number}.xml").write_text(f"<annotation>{objects}</annotation>")
    (tmp_path / "out").mkdir()
    metrics = prepare_dataset(VocFolderOptions(path="set", image_size=32), tmp_path, tmp_path / "out")
    assert metrics == {
        "num_train": 7, "num_test": 2, "num_classes": 3, "num_objects": 12, "num_difficult": 2, "num_skipped": 0,
    }  # fmt: skip
    pins.compare(of_boxes(load_detection(tmp_path / "out")), PINNED["voc_folder"], "PrepareDataset")
