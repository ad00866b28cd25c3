"""VOC 2007 and 2012 from a tiny devkit: torchvision's own class finds and parses it as well."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torchvision.datasets import VOCDetection

from tessera.data.datasets.options.voc import Voc0712Options
from tessera.data.datasets.voc import CLASSES
from tessera.data.detection import DetectionDataset, load_detection
from tessera.data.prepare import prepare_dataset
from tessera.errors import DataError


@pytest.fixture
def devkit(voc: Any, tmp_path: Path) -> Path:
    first = {
        "000001": voc.annotation(voc.marked("dog", (1, 2, 10, 12)), voc.marked("person", (3, 4, 40, 30), 1)),
        "000002": voc.annotation(voc.marked("tvmonitor", (5, 5, 9, 9))),
        "000003": voc.annotation(voc.marked("aeroplane", (7, 8, 9, 10))),
    }
    second = {
        "2008_000001": voc.annotation(voc.marked("sheep", ("45.70000076293945", 3, 50, 5)), size=(60, 30)),
        "2008_000002": voc.annotation(voc.marked("cat", (2, 3, 4, 5)), voc.marked("cat", (12, 13, 24, 25))),
    }
    root = tmp_path / "VOCdevkit"
    voc.write(root / "VOC2007", first, {"trainval": ["000001", "000003"], "test": ["000002"]})
    voc.write(root / "VOC2012", second, {"trainval": ["2008_000001", "2008_000002"]})
    (root / "VOC2012/JPEGImages/2008_000001.jpg").write_bytes(voc.jpeg(0, 60, 30))
    return root


def prepared(data_root: Path, **options: Any) -> tuple[dict[str, float], DetectionDataset]:
    folder = data_root / f"output{len(list(data_root.glob('output*')))}"
    folder.mkdir()
    return prepare_dataset(Voc0712Options(**options), data_root, folder), load_detection(folder)


def test_as_torchvision_reads_it(devkit: Path, tmp_path: Path) -> None:
    metrics, dataset = prepared(tmp_path)
    assert metrics == {
        "num_train": 4, "num_test": 1, "num_classes": 20, "num_objects": 7, "num_difficult": 1, "num_skipped": 0,
    }  # fmt: skip
    assert dataset.classes == CLASSES
    assert len(CLASSES) == 20
    assert list(CLASSES) == sorted(CLASSES)
    sets = {"train": [("2007", "trainval"), ("2012", "trainval")], "test": [("2007", "test")]}
    for split, parts in sets.items():
        samples = [sample for year, part in parts for sample in VOCDetection(tmp_path, year, part)]
        assert len(samples) == len(dataset.splits[split])
        for i, (image, target) in enumerate(samples):
            objects, found = dataset.splits[split].objects(i), target["annotation"]["object"]
            boxes = [[float(one["bndbox"][tag]) for tag in ("xmin", "ymin", "xmax", "ymax")] for one in found]
            assert torch.allclose(objects.boxes, torch.tensor(boxes) - torch.tensor([1.0, 1.0, 0.0, 0.0]))
            assert [CLASSES[label] for label in objects.labels.tolist()] == [one["name"] for one in found]
            assert objects.difficult.tolist() == [one["difficult"] == "1" for one in found]
            assert dataset.splits[split].size(i) == (image.height, image.width)
    assert dataset.train.name(2) == "VOC2012/JPEGImages/2008_000001.jpg"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("Annotations/000003.xml", None, "not found, but its image is in a list. Unpack the archive again."),
        ("Annotations/000003.xml", "<annotation>", "it does not parse as XML"),
        ("Annotations/000003.xml", "kite", "object 1 (`kite`) is of no known class. Correct or remove it"),
        ("JPEGImages/000003.jpg", None, "its image, `000003.jpg`, is not in `"),
        ("JPEGImages/000003.jpg", "hello", "cannot be decoded (no image of a known kind)"),
    ],
)
def test_bad_input(
    voc: Any, devkit: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, text: str | None, message: str
) -> None:
    file = devkit / "VOC2007" / name
    file.unlink()
    if text is not None:
        file.write_text(voc.annotation(voc.marked(text, (1, 2, 3, 4))) if text == "kite" else text)
    metrics, dataset = prepared(tmp_path)
    assert metrics["num_skipped"] == 1
    assert len(dataset.train) == (4 if text == "kite" else 3)
    assert message in caplog.text
    with pytest.raises(DataError) as raised:
        prepared(tmp_path, damaged="refuse")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_not_there_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(url: str, *_: Any, **__: Any) -> None:
        asked.append(url)
        raise URLError("no network")

    monkeypatch.setattr("torchvision.datasets.voc.download_and_extract_archive", refuse)
    with pytest.raises(DataError) as raised:
        prepared(tmp_path)
    assert asked == ["https://thor.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtrainval_06-Nov-2007.tar"]
    assert str(raised.value) == (
        f"{tmp_path}/VOCdevkit/VOC2007: not found or damaged, and the download failed (<urlopen error no network>). "
        f"Put `VOCtrainval_06-Nov-2007.tar` from {asked[0]} into {tmp_path}, or its unpacked folder "
        "`VOCdevkit/VOC2007`."
    )


def test_the_test_images_come_in_an_archive_of_their_own(
    devkit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (devkit / "VOC2007/ImageSets/Main/test.txt").unlink()
    asked = []

    def unpack(url: str, root: Any, filename: str, md5: str) -> None:
        asked.append(filename)
        (devkit / "VOC2007/ImageSets/Main/test.txt").write_text("000002\n")

    monkeypatch.setattr("torchvision.datasets.voc.download_and_extract_archive", unpack)
    metrics, _ = prepared(tmp_path)
    assert asked == ["VOCtest_06-Nov-2007.tar"]
    assert metrics["num_test"] == 1
