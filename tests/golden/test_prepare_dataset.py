"""Pins the results of stage `prepare_dataset`: if they change on purpose, its version must be bumped."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tessera.data.datasets.options import (
    DatasetOptions,
    DigitsMOptions,
    DigitsScenesOptions,
    ImageFolderOptions,
    VocFolderOptions,
)
from tessera.data.detection import DetectionDataset, load_detection
from tessera.data.prepare import prepare_dataset
from tessera.data.store import Dataset, load_dataset

CHANGED = "results of prepare_dataset changed: bump PrepareDataset.version"


def prepared(options: DatasetOptions, data_root: Path, folder: Path) -> tuple[dict[str, float], Dataset]:
    folder.mkdir()
    metrics = prepare_dataset(options, data_root, folder)
    return metrics, load_dataset(folder, torch.device("cpu"))


def figures(dataset: Dataset) -> list[float]:
    """Statistics, and sums that depend on the order of images, channels, rows, columns and labels."""
    numbers = [*dataset.mean, *dataset.std]
    for split in (dataset.train, dataset.test):
        for axis in range(4):
            profile = split.images[:].double().mean([other for other in range(4) if other != axis])
            numbers.append(float(profile @ torch.linspace(0, 1, len(profile), dtype=torch.float64)))
        numbers.append(float((split.labels * torch.arange(len(split))).sum()))
    return [round(number, 4) for number in numbers]


def test_digits_m(tmp_path: Path) -> None:
    metrics, dataset = prepared(DigitsMOptions(copies=1), tmp_path, tmp_path / "out")
    assert metrics == {
        "num_train": 1258, "num_test": 539, "num_unlabeled": 0, "num_classes": 10, "image_size": 32, "num_skipped": 0,
    }  # fmt: skip
    # Tolerant of other releases of the libraries that decode and enlarge.
    assert figures(dataset) == pytest.approx(
        [
            0.3911,
            0.3794,
            0.3763,
            0.3268,
            0.2662,
            0.2821,
            61521.7949,
            144.3263,
            1536.799,
            1557.2075,
            3535973.0,
            29006.0329,
            155.7089,
            1717.0052,
            1708.7648,
            662860.0,
        ],
        rel=1e-3,
    ), CHANGED


@pytest.mark.parametrize("packed", [False, True])
def test_image_folder(tmp_path: Path, packed: bool) -> None:
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
    assert figures(dataset) == pytest.approx(
        [
            0.4156,
            0.4898,
            0.5554,
            0.1857,
            0.1831,
            0.1819,
            635.6282,
            204.0654,
            1149.0522,
            1065.1281,
            35.0,
            136.0,
            235.4326,
            1308.1125,
            1274.7403,
            1.0,
        ],
        rel=1e-3,
    ), CHANGED


def test_digits_scenes(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    metrics = prepare_dataset(DigitsScenesOptions(num_train=60, num_test=20), tmp_path, folder)
    dataset = load_detection(folder)
    assert metrics == {
        "num_train": 60, "num_test": 20, "num_classes": 10, "num_objects": 189, "num_difficult": 0, "num_skipped": 0,
    }, CHANGED  # fmt: skip
    assert of_boxes(dataset) == pytest.approx(
        [
            0.4009,
            0.4559,
            0.4182,
            0.36,
            0.2873,
            0.3101,
            491390.0,
            397060.0,
            787201.0,
            817842.0,
            44158.0,
            0.0,
            4315.0,
            201071.2866,
            57483.0,
            46119.0,
            97001.0,
            102516.0,
            5982.0,
            0.0,
            533.0,
            30569.3209,
        ],
        rel=1e-3,
    ), CHANGED


def test_voc_folder(tmp_path: Path) -> None:
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
    }, CHANGED  # fmt: skip
    assert of_boxes(load_detection(tmp_path / "out")) == pytest.approx(
        [
            0.4427,
            0.5154,
            0.5799,
            0.1848,
            0.1831,
            0.1849,
            378.0,
            365.0,
            1112.5,
            728.0,
            42.0,
            9.0,
            37.0,
            3591.1667,
            50.0,
            46.0,
            132.5,
            82.0,
            8.0,
            3.0,
            6.0,
            383.1111,
        ],
        rel=1e-3,
    ), CHANGED


def of_boxes(dataset: DetectionDataset) -> list[float]:
    """Statistics, and sums that depend on the order of images, objects, corners and labels."""
    numbers = [*dataset.mean, *dataset.std]
    for split in (dataset.train, dataset.test):
        every = [split.objects(i) for i in range(len(split))]
        boxes = torch.cat([objects.boxes for objects in every]).double()
        order = torch.arange(1, len(boxes) + 1, dtype=torch.float64)
        numbers += (order @ boxes).tolist()
        numbers.append(float(order @ torch.cat([objects.labels for objects in every]).double()))
        numbers.append(float(order @ torch.cat([objects.difficult for objects in every]).double()))
        numbers.append(float(sum((i + 1) * len(objects) for i, objects in enumerate(every))))
        numbers.append(sum((i + 1) * split.image(i).double().mean().item() for i in range(len(split))))
    return [round(number, 4) for number in numbers]
