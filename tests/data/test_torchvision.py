"""CIFAR and STL-10 from tiny copies in their own formats: torchvision's own reading code runs."""

import pickle
from hashlib import md5
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from torchvision.transforms.v2.functional import resize

from tessera.data.datasets.cifar import C10s, Cifar10, Cifar100
from tessera.data.datasets.hierarchies import HIERARCHIES
from tessera.data.datasets.options.torchvision import C10sOptions, Cifar10Options, Cifar100Options, Stl10Options
from tessera.data.datasets.stl10 import CLASSES, Stl10
from tessera.errors import DataError

random = np.random.default_rng(0)


def write(folder: Path, name: str, content: bytes) -> list[str]:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return [name, md5(content).hexdigest()]


def names_of(classes: int) -> list[str]:
    levels = HIERARCHIES["cifar100"]["superclass"].values()
    return [f"class {i}" for i in range(10)] if classes == 10 else sorted(name for group in levels for name in group)


def fake_cifar(root: Path, monkeypatch: pytest.MonkeyPatch, cls: Any, classes: int, per_class: int) -> dict[str, Any]:
    folder, key = root / cls.base_folder, "labels" if classes == 10 else "fine_labels"
    made: dict[str, Any] = {"train": ([], []), "test": ([], [])}
    for split, files in (("train", cls.train_list), ("test", cls.test_list)):
        listed = []
        for name, _ in files:
            labels = random.permutation(np.repeat(np.arange(classes), per_class)).tolist()
            data = random.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
            listed.append(write(folder, name, pickle.dumps({"data": data, key: labels})))
            made[split][0].append(data)
            made[split][1].extend(labels)
        monkeypatch.setattr(cls, f"{split}_list", listed)
    names = {cls.meta["key"]: names_of(classes)}
    name, digest = write(folder, cls.meta["filename"], pickle.dumps(names))
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": digest})
    return made


@pytest.mark.parametrize(
    ("reader", "options", "classes"), [(Cifar10, Cifar10Options(), 10), (Cifar100, Cifar100Options(), 100)]
)
def test_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Any, options: Any, classes: int) -> None:
    cls = getattr(torchvision.datasets, reader.dataset)
    made = fake_cifar(tmp_path, monkeypatch, cls, classes, 2)
    raw = reader(options).read(tmp_path)
    assert raw.classes == names_of(classes)
    for split, (data, labels) in made.items():
        planes = np.concatenate(data).reshape(-1, 3, 32, 32)  # red, green and blue, one after the other
        assert np.array_equal(raw.images[raw.splits[split]], np.moveaxis(planes, 1, 3))
        assert raw.labels[raw.splits[split]].tolist() == labels
    assert raw.labels.dtype == np.int64


def test_c10s_is_a_fixed_balanced_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cifar(tmp_path, monkeypatch, torchvision.datasets.CIFAR10, 10, 10)
    whole = Cifar10(Cifar10Options()).read(tmp_path)
    raw = C10s(C10sOptions()).read(tmp_path)
    assert np.bincount(raw.labels[raw.splits["train"]]).tolist() == [10] * 10  # of 50
    assert np.bincount(raw.labels[raw.splits["test"]]).tolist() == [2] * 10  # of 10
    assert sorted(np.concatenate([raw.splits["train"], raw.splits["test"]]).tolist()) == list(range(120))
    for split in ("train", "test"):
        of = {
            image.tobytes(): label
            for image, label in zip(whole.images[whole.splits[split]], whole.labels[whole.splits[split]], strict=True)
        }
        assert all(of[raw.images[row].tobytes()] == raw.labels[row] for row in raw.splits[split])

    again, other = C10s(C10sOptions()).read(tmp_path), C10s(C10sOptions(seed=1)).read(tmp_path)
    assert np.array_equal(again.images, raw.images)
    assert not np.array_equal(other.images, raw.images)
    full = C10s(C10sOptions(test="full", fraction=0.1)).read(tmp_path)
    assert [len(full.splits[split]) for split in ("train", "test")] == [50, 100]
    assert np.array_equal(full.images[full.splits["test"]], whole.images[whole.splits["test"]])


@pytest.mark.parametrize("unlabeled", [False, True])
def test_stl10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unlabeled: bool) -> None:
    cls, folder = torchvision.datasets.STL10, tmp_path / "stl10_binary"
    made = {split: random.integers(0, 256, (20, 3, 96, 96), dtype=np.uint8) for split in ("train", "test", "unlabeled")}
    labels = {split: random.permutation(np.repeat(np.arange(10), 2)) for split in ("train", "test")}

    def files(split: str) -> list[list[str]]:
        stored = made[split].transpose(0, 1, 3, 2).tobytes()  # column by column
        listed = [write(folder, f"{split}_X.bin", stored)]
        if split in labels:
            listed.append(write(folder, f"{split}_y.bin", (labels[split] + 1).astype(np.uint8).tobytes()))
        return listed

    absent = [["unlabeled_X.bin", "0" * 32]]  # 2.8 GB, which nobody needs who did not ask for it
    monkeypatch.setattr(cls, "train_list", files("train") + (files("unlabeled") if unlabeled else absent))
    monkeypatch.setattr(cls, "test_list", files("test"))
    raw = Stl10(Stl10Options(unlabeled=unlabeled)).read(tmp_path)
    assert set(raw.splits) == ({"train", "test", "unlabeled"} if unlabeled else {"train", "test"})
    assert raw.classes == list(CLASSES)
    for split, rows in raw.splits.items():
        assert np.array_equal(raw.images[rows], np.moveaxis(made[split], 1, 3))
        assert np.array_equal(raw.labels[rows], labels.get(split, np.full(20, -1)))


def test_a_failed_download_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
    root = tmp_path / "data"
    with pytest.raises(DataError, match=r"cifar-10-batches-py: not found or damaged.*no route to host") as raised:
        Cifar10(Cifar10Options()).read(root)
    assert "Put `cifar-10-python.tar.gz` from https://" in str(raised.value)
    assert f"into {root}, or its unpacked folder `cifar-10-batches-py`." in str(raised.value)


def test_damaged_files_are_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cifar(tmp_path, monkeypatch, torchvision.datasets.CIFAR10, 10, 1)
    monkeypatch.setattr(
        "torchvision.datasets.cifar.download_and_extract_archive", lambda *_, **__: (_ for _ in ()).throw(URLError("x"))
    )
    monkeypatch.setattr("pickle.load", lambda *_, **__: pytest.fail("unpickled"))
    file = tmp_path / "cifar-10-batches-py" / "test_batch"
    file.write_bytes(file.read_bytes() + b"!")
    with pytest.raises(DataError, match="not found or damaged"):
        Cifar10(Cifar10Options()).read(tmp_path)


def test_found_data_need_no_writing_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cifar(tmp_path, monkeypatch, torchvision.datasets.CIFAR10, 10, 1)
    before = sorted(tmp_path.rglob("*"))
    Cifar10(Cifar10Options()).read(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("size", [16, 48])
def test_another_size_is_resized_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr("tessera.data.resize.CHUNK", 7)  # several chunks
    fake_cifar(tmp_path, monkeypatch, torchvision.datasets.CIFAR10, 10, 5)
    for reader, options in ((Cifar10, Cifar10Options), (C10s, C10sOptions)):
        assert options(image_size=size).pixels() == size
        assert options().pixels() == 32
        raw, plain = (reader(made).read(tmp_path) for made in (options(image_size=size), options()))
        expected = resize(torch.from_numpy(plain.images).permute(0, 3, 1, 2).double(), [size, size], antialias=True)
        assert raw.images.shape == (len(plain.images), size, size, 3)
        assert np.abs(np.moveaxis(raw.images, 3, 1) - expected.numpy()).max() < 0.51  # rounded once
        assert np.array_equal(raw.labels, plain.labels)


def test_stl10_of_another_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tessera.data.resize.CHUNK", 3)
    cls, folder = torchvision.datasets.STL10, tmp_path / "stl10_binary"
    made = random.integers(0, 256, (2, 10, 3, 96, 96), dtype=np.uint8)
    names = [("train", made[0]), ("test", made[1])]
    for split, images in names:
        listed = [
            write(folder, f"{split}_X.bin", images.transpose(0, 1, 3, 2).tobytes()),
            write(folder, f"{split}_y.bin", bytes(range(1, 11))),
        ]
        monkeypatch.setattr(
            cls, f"{split}_list", [*listed, ["unlabeled_X.bin", "0" * 32]][: 3 if split == "train" else 2]
        )
    raw = Stl10(Stl10Options(image_size=32)).read(tmp_path)
    for split, images in names:
        expected = resize(torch.from_numpy(images).double(), [32, 32], antialias=True)
        assert np.abs(np.moveaxis(raw.images[raw.splits[split]], 3, 1) - expected.numpy()).max() < 0.51
    assert Stl10Options().pixels() == 96
