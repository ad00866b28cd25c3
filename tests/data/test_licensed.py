"""ImageNet and Places365 from tiny trees in their own layouts: torchvision's own classes read them."""

from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchvision.datasets.imagenet import parse_devkit_archive

from tessera.data.datasets.options.base import DatasetOptions
from tessera.data.datasets.options.licensed import ImagenetOptions, Places365Options
from tessera.data.prepare import prepare_dataset
from tessera.data.store import Dataset, load_dataset
from tessera.errors import DataError

WNIDS = ("n01440764", "n01443537", "n02105855")


def shade(*path: str | Path, color: tuple[int, int, int] = (0, 0, 0), form: str = "jpeg") -> None:
    file = Path(*path)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 50), color).save(file, form)


def fake_imagenet(root: Path) -> Path:
    """Two training images and one of validation a class, whose shade of red is that of the class."""
    for label, wnid in enumerate(WNIDS):
        for number in range(2):
            shade(root, "train", wnid, f"{wnid}_{number}.JPEG", color=(100 * label, 10 * number, 0))
        shade(root, "val", wnid, f"ILSVRC2012_val_{label:08}.JPEG", color=(100 * label, 200, 0))
    shade(root, "train", WNIDS[2], f"{WNIDS[2]}_2933.JPEG", color=(200, 20, 0), form="png")  # as there is one
    return root


def write_devkit(root: Path) -> None:
    torch.save(({wnid: (f"fish {wnid}", "x") for wnid in WNIDS}, [WNIDS[0], WNIDS[2], WNIDS[1]]), root / "meta.bin")


def fake_places(root: Path, monkeypatch: pytest.MonkeyPatch, small: bool = True) -> Path:
    """Two scenes; the list says which image is of which."""
    cls: Any = torchvision.datasets.Places365
    root.mkdir()
    size = "256" if small else "large"
    files = {
        "categories_places365.txt": "/a/airfield 0\n/b/bar 1\n",
        "places365_train_standard.txt": "/a/airfield/1.jpg 0\n/b/bar/1.jpg 1\n/b/bar/2.jpg 1\n",
        "places365_val.txt": "Places365_val_1.jpg 1\nPlaces365_val_2.jpg 0\n",
    }
    digest = {}
    for name, text in files.items():
        (root / name).write_text(text)
        digest[name] = (name, md5(text.encode()).hexdigest())
    monkeypatch.setattr(cls, "_CATEGORIES_META", digest["categories_places365.txt"])
    lists = {"train-standard": digest["places365_train_standard.txt"], "val": digest["places365_val.txt"]}
    monkeypatch.setattr(cls, "_FILE_LIST_META", lists)
    for folder, listed in (("data", "train_standard"), ("val", "val")):
        suffix = "_standard" if folder == "data" else ""
        for number, line in enumerate(files[f"places365_{listed}.txt"].splitlines()):
            name, label = line.split()
            shade(root / f"{folder}_{size}{suffix}", name.lstrip("/"), color=(200 * int(label), 10 * number, 0))
    return root


def prepared(options: DatasetOptions, data_root: Path, folder: Path) -> Dataset:
    folder.mkdir()
    prepare_dataset(options, data_root, folder)
    return load_dataset(folder, torch.device("cpu"))


def shades(dataset: Dataset, split: str) -> list[list[int]]:
    """Red and green of the middle of each image."""
    return dataset.splits[split].images[:][:, :2, 16, 16].tolist()


@pytest.mark.parametrize("devkit", [False, True])
def test_imagenet(tmp_path: Path, devkit: bool) -> None:
    root = fake_imagenet(tmp_path / "imagenet")
    if devkit:
        write_devkit(root)
    before = sorted(tmp_path.rglob("*"))
    dataset = prepared(ImagenetOptions(image_size=32), tmp_path, tmp_path / "output")
    assert dataset.classes == WNIDS  # whether or not the devkit says what they are called
    assert dataset.image_size == 32
    assert dataset.train.labels.tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert dataset.test.labels.tolist() == [0, 1, 2]
    expected = [[0, 0], [0, 10], [100, 0], [100, 10], [200, 0], [200, 10], [200, 20]]
    assert np.abs(np.array(shades(dataset, "train")) - expected).max() <= 2
    assert np.abs(np.array(shades(dataset, "test")) - [[0, 200], [100, 200], [200, 200]]).max() <= 2
    assert [path for path in sorted(tmp_path.rglob("*")) if "output" not in path.parts] == before


def test_the_devkit_is_read_by_torchvisions_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fake_imagenet(tmp_path / "imagenet")
    opened = []
    cls = torchvision.datasets.ImageNet
    monkeypatch.setattr(torchvision.datasets, "ImageNet", lambda root, split: opened.append(split) or cls(root, split))
    prepared(ImagenetOptions(image_size=32), tmp_path, tmp_path / "plain")
    assert not opened
    write_devkit(root)
    prepared(ImagenetOptions(image_size=32), tmp_path, tmp_path / "output")
    assert opened == ["train", "val"]


def test_a_damaged_devkit_is_told(tmp_path: Path) -> None:
    root = fake_imagenet(tmp_path / "imagenet")
    (root / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(b"x")
    with pytest.raises(RuntimeError):
        parse_devkit_archive(root)
    with pytest.raises(DataError, match=r"imagenet/train: torchvision cannot read .*ILSVRC2012_devkit_t12.tar.gz"):
        prepared(ImagenetOptions(image_size=32), tmp_path, tmp_path / "output")
    (root / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    (root / "meta.bin").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"imagenet/train: torchvision cannot read "):
        prepared(ImagenetOptions(image_size=32), tmp_path, tmp_path / "other")


def test_a_tree_that_is_not_all_of_imagenet_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fake_imagenet(tmp_path / "imagenet")
    prepared(ImagenetOptions(image_size=32), tmp_path, tmp_path / "output")
    assert "holds 7 and 3 images in `train` and `val`; ILSVRC2012 has 1281167 and 50000" in caplog.text


def test_what_is_wrong_inside_imagenets_folder(tmp_path: Path) -> None:
    root = tmp_path / "imagenet"
    output = iter(range(99))

    def error() -> str:
        folder = tmp_path / f"output{next(output)}"
        with pytest.raises(DataError) as raised:
            prepared(ImagenetOptions(), tmp_path, folder)
        assert not list(folder.iterdir())
        assert "\n" not in str(raised.value)
        return str(raised.value)

    root.mkdir()
    assert error().startswith(f"{root}/train: no such folder. Put the images of ILSVRC2012 there as `train/<wnid>/")
    (root / "train").mkdir()
    assert f"{root}/train: is empty. It must hold `<wnid>/*.JPEG`" in error()
    fake_imagenet(root)
    for file in sorted((root / "val").rglob("*.JPEG")):
        file.rename(root / "val" / file.name)
        file.parent.rmdir()
    assert (
        f"{root}/val: holds 3 files that are not sorted into a folder a wnid. It must hold `<wnid>/*.JPEG`" in error()
    )
    fake_imagenet(root)
    (root / "train" / "n09999999").mkdir()
    assert f"{root}/train: the folder `n09999999` is empty (1 such folders). Unpack its images again" in error()
    shade(root, "train", "n09999999", "1.JPEG")
    assert "class `n09999999` is in `train` but not in `val` (1 such classes)" in error()


@pytest.mark.parametrize("small", [True, False])
def test_places365(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: bool) -> None:
    fake_places(tmp_path / "places365", monkeypatch, small)
    dataset = prepared(Places365Options(image_size=32, small=small), tmp_path, tmp_path / "output")
    assert dataset.classes == ("/a/airfield", "/b/bar")
    assert dataset.train.labels.tolist() == [0, 1, 1]
    assert dataset.test.labels.tolist() == [1, 0]
    assert np.abs(np.array(shades(dataset, "train")) - [[0, 0], [200, 10], [200, 20]]).max() <= 2
    assert np.abs(np.array(shades(dataset, "test")) - [[200, 0], [0, 10]]).max() <= 2


def test_what_is_wrong_inside_places365s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fake_places(tmp_path / "places365", monkeypatch)
    output = iter(range(99))

    def error(**options: Any) -> str:
        folder = tmp_path / f"output{next(output)}"
        with pytest.raises(DataError) as raised:
            prepared(Places365Options(**options), tmp_path, folder)
        assert not list(folder.iterdir())
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert f"{root}/data_large_standard: no such folder. Unpack `train_large_places365standard.tar`" in error(
        small=False
    )
    (root / "data_256_standard").rename(root / "data_256")
    assert "Unpack `train_256_places365standard.tar`" in (message := error())
    assert f"into {root} and rename its folder so, or set `small: false`" in message
    (root / "places365_val.txt").write_text("another")
    assert "get the lists again" in error()
    (root / "places365_val.txt").unlink()
    assert f"{root}/places365_val.txt: no such file. Unpack `filelist_places365-standard.tar` into {root}." in error()


def test_an_image_that_the_list_names_and_nobody_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fake_places(tmp_path / "places365", monkeypatch)
    (root / "data_256_standard/b/bar/1.jpg").unlink()
    with pytest.raises(
        DataError, match=r"b/bar/1\.jpg: cannot be read \(No such file or directory\)\. .*`damaged: skip`"
    ):
        prepared(Places365Options(), tmp_path, tmp_path / "output")
    dataset = prepared(Places365Options(damaged="skip"), tmp_path, tmp_path / "other")
    assert dataset.train.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("options", "site"), [(ImagenetOptions(), "image-net.org"), (Places365Options(), "places2.csail.mit.edu")]
)
def test_absent_licensed_data_are_told_once_with_place_and_layout(
    options: DatasetOptions, site: str, tmp_path: Path
) -> None:
    for data_root in (tmp_path, tmp_path / "nowhere"):
        message = options.missing(data_root) or ""
        assert site in message
        assert f"put them into {data_root / options.name} as `" in message
        assert "\n" not in message
    (tmp_path / options.name).touch()
    assert options.missing(tmp_path) is not None
    (tmp_path / options.name).unlink()
    (tmp_path / options.name).mkdir()
    assert options.missing(tmp_path) is None  # a plan is made; what is inside is looked at when it is prepared
