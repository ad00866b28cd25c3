"""Folders of images with pipes, devices, endless links and files without end."""

import io
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hostile_archives import GOOD, answer, png

from tessera.data import reading
from tessera.data.datasets.image_folder import ImageFolder
from tessera.data.datasets.options.base import DatasetOptions
from tessera.data.datasets.options.image_folder import ImageFolderOptions
from tessera.data.datasets.options.torchvision import Cifar10Options, Stl10Options
from tessera.data.datasets.options.voc import Voc0712Options
from tessera.data.reading import MOST_BYTES, UnfitFileError, read_stream
from tessera.errors import DataError
from tessera.registry import load


def make_tree(root: Path) -> Path:
    for name in GOOD:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png())
    return root


def test_what_is_no_file_in_a_tree_is_passed_over(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "data" / "tree")
    for name in ("train/a/pipe.png", "pipe"):
        os.mkfifo(tree / name)
    (tree / "train/a/zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as held:
        here = Path.cwd()
        os.chdir(tree)  # its path may be too long for a socket
        try:
            held.bind("socket.png")
        finally:
            os.chdir(here)
    said, number = answer(tree)
    assert said.splitlines() == [
        f"{tree}/pipe: a pipe",
        f"{tree}/socket.png: a socket",
        f"{tree}/train/a/pipe.png: a pipe",
        f"{tree}/train/a/zero.png: a device",
    ]
    assert number == 3


def test_a_file_that_is_too_large_is_named_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = reading.read_stream
    monkeypatch.setattr(reading, "read_stream", lambda stream, name, most: read(stream, name, min(most, 1000)))
    tree = make_tree(tmp_path / "data" / "tree")
    with (tree / "train/a/1.png").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    said, _ = answer(tree)
    assert said == (
        f"{tree}/train/a/1.png: larger than 1 GiB, the most that is read of such a file. Remove or replace it."
    )


@pytest.mark.parametrize("size", [0, 9, 10, 11, 10**7])
def test_no_more_is_read_than_may_be(size: int) -> None:
    for most in (10, 1 << 20, (1 << 20) + 5):
        stream = io.BytesIO(bytes(size))
        if size <= most:
            assert read_stream(stream, "x", most) == bytes(size)
        else:
            with pytest.raises(UnfitFileError, match=r"^x: larger than"):
                read_stream(stream, "x", most)
            assert stream.tell() == most + 1


def test_links_that_lead_round_end(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "data" / "tree")
    for name in ("one", "two"):  # a to b and b to a, by two ways each: 2^40 ways were there
        (tree / "train/a" / name).symlink_to(tree / "train/b")
        (tree / "train/b" / name).symlink_to(tree / "train/a")
    (tree / "train/a/root").symlink_to("/")
    said, number = answer(tree)
    assert (said, number) == ("", 3 + 2 * 1 + 2 * 2)


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(tmp_path / "data" / "tree")
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    reader = ImageFolder(ImageFolderOptions(path="tree", image_size=8))
    with pytest.raises(DataError, match=r"tree/test/b: cannot be listed \(Permission denied\)\. Make it readable"):
        reader.read(tmp_path / "data")


@pytest.mark.parametrize(
    ("options", "file"),
    [
        (Cifar10Options(), "cifar-10-batches-py/data_batch_1"),
        (Cifar10Options(), "cifar-10-python.tar.gz"),
        (Stl10Options(), "stl10_binary/train_X.bin"),
        (Voc0712Options(), "VOCdevkit/VOC2007/ImageSets/Main/trainval.txt"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pipes_in_the_place_of_known_files(options: DatasetOptions, file: str, tmp_path: Path) -> None:
    path = tmp_path / "data" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    with pytest.raises(DataError) as raised:
        load("dataset", options.name)(options).read(tmp_path / "data")
    assert str(raised.value) == f"{path}: a pipe, not a file. Remove or replace it."
