"""Image folders: trees and archives of them, and every way in which they are unfit."""

import io
import logging
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tessera.data.datasets.base import ListedDataset, RawDataset
from tessera.data.datasets.image_folder import ImageFolder
from tessera.data.datasets.options.image_folder import ImageFolderOptions
from tessera.errors import DataError

MakeTree = Callable[..., Path]
Pack = Callable[[Path, str], Path]


def read(path: Path, **options: Any) -> RawDataset:
    folder = ImageFolder(ImageFolderOptions(path=path.name, image_size=8, **options))
    raw = folder.read(path.parent)
    assert isinstance(raw, RawDataset)
    return raw


def shown(raw: RawDataset, split: str) -> list[tuple[str, bytes]]:
    """Class and pixels of each image of a split, in its order."""
    return [(raw.classes[raw.labels[row]], raw.images[row].tobytes()) for row in raw.splits[split]]


def pixels(file: Path) -> bytes:
    return np.asarray(Image.open(file)).tobytes()


def error_of(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as raised:
        read(path, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


NAMES = (
    "train/cat/1.png", "train/cat/2.png", "train/cat/deep/er/3.PNG", "train/ant/b.png", "train/ant/a.png",
    "test/cat/1.png", "test/ant/1.png", "words.txt", "train/cat/.hidden.png", "__MACOSX/train/cat/1.png",
    "train/cat/Thumbs.db",
)  # fmt: skip


def test_splits_classes_and_order_of_a_tree(make_tree: MakeTree) -> None:
    tree = make_tree(*NAMES)
    raw = read(tree)
    assert raw.classes == ["ant", "cat"]
    order = ["ant/a.png", "ant/b.png", "cat/1.png", "cat/2.png", "cat/deep/er/3.PNG"]
    assert shown(raw, "train") == [(name[:3], pixels(tree / "train" / name)) for name in order]
    assert shown(raw, "test") == [(name, pixels(tree / "test" / name / "1.png")) for name in ("ant", "cat")]
    assert raw.skipped == (f"{tree}/words.txt: not an image",)
    assert raw.images.shape == (7, 8, 8, 3)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz", ".zip"])
@pytest.mark.parametrize(
    "options", [{}, {"classes": ["cat"]}, {"test": None, "test_fraction": 0.4, "classes": ["cat"]}]
)
def test_an_archive_is_its_tree(make_tree: MakeTree, pack: Pack, suffix: str, options: dict[str, Any]) -> None:
    tree = make_tree(*NAMES)
    one, other = read(tree, **options), read(pack(tree, suffix), **options)
    assert one.classes == other.classes
    for split in ("train", "test"):
        assert shown(one, split) == shown(other, split)
        assert len(one.splits[split]) > 0


def test_classes_filter_and_order(make_tree: MakeTree) -> None:
    raw = read(make_tree(*NAMES, "train/bee/1.png"), classes=["cat", "ant"])
    assert raw.classes == ["cat", "ant"]
    assert raw.labels[raw.splits["train"]].tolist() == [0, 0, 0, 1, 1]


def test_other_split_names_and_a_class_named_as_a_split(make_tree: MakeTree) -> None:
    tree = make_tree("x/val/train/1.png", "x/train/train/1.png", "x/val/test/1.png", "x/train/test/1.png")
    raw = read(tree, test="val")
    assert raw.classes == ["test", "train"]
    assert [len(raw.splits[split]) for split in ("train", "test")] == [2, 2]


def test_a_split_named_by_more_than_one_folder(make_tree: MakeTree) -> None:
    tree = make_tree("a/train/x/1.png", "b/train/x/1.png", "test/x/1.png")
    message = error_of(tree)
    assert "`train: train` is ambiguous, since there are `a/train` and `b/train`. Set `train: a/train`" in message
    raw = read(tree, train="b/train")
    assert shown(raw, "train") == [("x", pixels(tree / "b/train/x/1.png"))]


@pytest.mark.parametrize("root", ["", "flowers/", "a/b/flowers/"])
def test_classes_at_the_top(make_tree: MakeTree, root: str) -> None:
    tree = make_tree(*(f"{root}{name}/{i}.png" for name in ("rose", "daisy") for i in range(5)))
    raw = read(tree, train=None, test=None)
    assert raw.classes == ["daisy", "rose"]
    assert [len(raw.splits[split]) for split in ("train", "test")] == [8, 2]
    assert read(tree, train=None, test=None, classes=["rose"]).classes == ["rose"]


def test_classes_at_the_top_with_a_test_folder(make_tree: MakeTree) -> None:
    tree = make_tree("data/rose/1.png", "data/daisy/1.png", "data/test/rose/1.png", "data/0.png")
    raw = read(tree, train=None)
    assert raw.classes == ["daisy", "rose"]
    assert shown(raw, "test") == [("rose", pixels(tree / "data/test/rose/1.png"))]
    assert raw.skipped == (f"{tree}/data/0.png: not in a class's folder",)


def test_one_class_at_the_top(make_tree: MakeTree) -> None:
    assert read(make_tree("rose/1.png", "rose/2.png"), train=None, test=None).classes == ["rose"]


def test_split_by_fraction_is_balanced_disjoint_and_repeats(make_tree: MakeTree) -> None:
    names = [f"train/a/{i}.png" for i in range(20)] + [f"train/b/{i}.png" for i in range(10)]
    tree = make_tree(*names)
    raw = read(tree, test=None, test_fraction=0.3)
    assert np.bincount(raw.labels[raw.splits["train"]]).tolist() == [14, 7]
    assert np.bincount(raw.labels[raw.splits["test"]]).tolist() == [6, 3]
    rows = np.concatenate([raw.splits["train"], raw.splits["test"]])
    assert sorted(rows.tolist()) == list(range(30))
    again, other = (read(tree, test=None, test_fraction=0.3, seed=seed) for seed in (0, 1))
    assert shown(again, "test") == shown(raw, "test")
    assert shown(other, "test") != shown(raw, "test")


@pytest.mark.parametrize("test", [None, "test"])
def test_a_share_of_the_training_images(make_tree: MakeTree, test: str | None) -> None:
    names = [f"{split}/{name}/{i}.png" for split in ("train", "test") for name in "ab" for i in range(10)]
    tree = make_tree(*names)
    whole, raw = (read(tree, test=test, train_fraction=share) for share in (1.0, 0.25))
    each = 10 if test else 8
    assert np.bincount(whole.labels[whole.splits["train"]]).tolist() == [each, each]
    assert np.bincount(raw.labels[raw.splits["train"]]).tolist() == [round(each * 0.25)] * 2
    assert shown(raw, "test") == shown(whole, "test")
    assert set(shown(raw, "train")) < set(shown(whole, "train"))
    assert len(raw.images) == len(raw.splits["train"]) + len(raw.splits["test"])  # the others are not kept
    again, other = (read(tree, test=test, train_fraction=0.25, seed=seed) for seed in (0, 1))
    assert shown(again, "train") == shown(raw, "train")
    assert shown(other, "train") != shown(raw, "train")


def test_the_last_of_two_members_of_one_name_counts(make_tree: MakeTree, tmp_path: Path) -> None:
    tree = make_tree("train/a/1.png", "train/a/2.png", "test/a/1.png")
    path = tmp_path / "twice.tar"
    with tarfile.open(path, "w") as archive:
        for name, source in [("train/a/1.png", "1"), ("test/a/1.png", "1"), ("train/a/1.png", "2")]:
            archive.add(tree / "train/a" / f"{source}.png", name)
    assert shown(read(path), "train") == [("a", pixels(tree / "train/a/2.png"))]
    listed = ImageFolder(ImageFolderOptions(path=path.name, image_size=8, packed=True)).read(path.parent)
    assert isinstance(listed, ListedDataset)
    data = [encoded.read() for encoded in listed.read(0)]
    assert data[listed.splits["train"][0]] == (tree / "train/a/2.png").read_bytes()
    assert len(data) == 2


def test_refused_members_are_named_and_change_nothing(make_tree: MakeTree, pack: Pack) -> None:
    tree = make_tree(*NAMES)
    path = pack(tree, ".tar")
    with tarfile.open(path, "a") as archive:
        for name, kind in [("../train/cat/9.png", tarfile.REGTYPE), ("tree/train/cat/8.png", tarfile.SYMTYPE)]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(tree / "train/cat/1.png")
            archive.addfile(member, io.BytesIO())
    raw = read(path)
    assert shown(raw, "train") == shown(read(tree), "train")
    assert f"{path}: `../train/cat/9.png`: leads out of the archive" in raw.skipped
    assert f"{path}: `tree/train/cat/8.png`: a link" in raw.skipped


def test_checksum_of_an_archive(make_tree: MakeTree, pack: Pack) -> None:
    path = pack(make_tree(*NAMES), ".tar")
    assert len(read(path, sha256=sha256(path.read_bytes()).hexdigest()).images) == 7
    assert "`sha256` says 1111" in error_of(path, sha256="1" * 64)


def test_missing_test_images_of_a_class_are_told(make_tree: MakeTree, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "tessera"):
        read(make_tree("train/a/1.png", "train/b/1.png", "test/a/1.png"))
    assert "no test images of b" in caplog.text


def test_errors_of_layout(make_tree: MakeTree, tmp_path: Path) -> None:
    tree = make_tree(*NAMES)
    assert error_of(tree, train="trian") == (
        f"{tree}: no folder `trian` for `train`. Found folders test, test/ant, test/cat, train, train/ant, train/cat. "
        "Set `train` to one of them, or to null: the classes lie at the top."
    )
    assert "no folder `val` for `test`" in error_of(tree, test="val")
    assert "or to null: split some training images off" in error_of(tree, test="val")
    assert "no class `cta` in `train`. Did you mean 'cat'? Known: ant, cat." in error_of(tree, classes=["cta"])

    (tree / "train/dog").mkdir()
    assert "class `dog` has no images in `train`. Add some, remove the folder" in error_of(tree)
    assert read(tree, classes=["cat"]).classes == ["cat"]
    (tree / "train/dog").rmdir()

    extra = make_tree("train/a/1.png", "test/a/1.png", "test/b/1.png", root="extra")
    assert "class `b` is in `test` but not in `train`" in error_of(extra)
    flat = make_tree("train/1.png", "test/1.png", root="flat")
    assert "no class's folder in `train`" in error_of(flat)
    few = make_tree("train/a/1.png", root="few")
    assert "class `a` has too few images to split `test_fraction` off" in error_of(few, test=None)


def test_errors_of_empty_and_damaged_sources(make_tree: MakeTree, pack: Pack, tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    assert "void: holds no images. Found no folders." in error_of(tmp_path / "void")
    with tarfile.open(tmp_path / "void.tar.xz", "w:xz"):
        pass
    assert "void.tar.xz: holds no images" in error_of(tmp_path / "void.tar.xz")
    tree = make_tree(*NAMES)
    (tree / "train/cat/2.png").write_bytes(b"not an image")
    assert error_of(tree) == (
        f"{tree}/train/cat/2.png: cannot be decoded (no image of a known kind). Remove or replace it."
    )
    path = pack(tree, ".tar.xz")
    assert f"{path}: `tree/train/cat/2.png`: cannot be decoded" in error_of(path)
    path.write_bytes(path.read_bytes()[:-60])
    assert "damaged or incomplete" in error_of(path, classes=["ant"])
    assert "gone: not found. Put it there" in error_of(tmp_path / "gone")
