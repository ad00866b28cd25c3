"""What a folder's listing tells before any job starts."""

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tessera.data.datasets import listing
from tessera.data.datasets.options.image_folder import ImageFolderOptions
from tessera.data.datasets.options.voc import VocFolderOptions

MakeTree = Callable[..., Path]
GOOD = ("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png")


def missing(path: Path, **options: Any) -> str | None:
    settings = {"path": path.name, "image_size": 8, **options}
    return ImageFolderOptions.model_validate(settings).missing(path.parent)


def test_a_tree_that_fits_is_not_told(make_tree: MakeTree, caplog: pytest.LogCaptureFixture) -> None:
    assert missing(make_tree(*GOOD)) is None
    assert missing(make_tree("deep/er/train/c/1.png", root="other"), test=None) is None
    assert missing(make_tree("a/1.png", "b/2.png", root="top"), train=None, test=None) is None
    assert missing(make_tree("train/a/1.png", "train/b/1.png", "test/a/1.png", root="bare")) is None
    assert not caplog.text  # that b has no test images is the job's to say, once


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (
            ("training/a/1.png", "test/a/1.png"),
            {},
            "no folder `train` for `train`. Found folders test, test/a",
        ),
        (("train/a/1.png",), {}, "no folder `test` for `test`"),
        (("train/1.png", "test/1.png"), {}, "no class's folder in `train`"),
        (GOOD, {"classes": ["a", "c"]}, "no class `c` in `train`"),
        (("train/a/notes.txt", "test/a/1.txt"), {}, "holds no images. Found folders"),
        (("train/a/1.png", "x/train/a/1.png"), {"test": None}, "`train: train` is ambiguous"),
    ],
)
def test_what_a_job_would_refuse_is_told_before(
    names: tuple[str, ...], options: dict[str, Any], message: str, make_tree: MakeTree
) -> None:
    path = make_tree(*names)
    told = missing(path, **options)
    assert told is not None
    assert told.startswith(f"dataset `image_folder`: {path}: ")
    assert message in told
    assert "\n" not in told


def test_a_large_tree_or_one_of_links_is_left_to_the_job(
    make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tree = make_tree("a/1.png", "a/2.png", "b/1.png")
    assert missing(tree) is not None
    monkeypatch.setattr(listing, "MOST", 4)
    assert missing(tree) is None
    monkeypatch.undo()
    (tree / "train").symlink_to(make_tree("a/1.png", root="elsewhere"))
    assert missing(tree) is None


def test_archives_are_opened_but_not_read(tmp_path: Path, make_tree: MakeTree) -> None:
    tree = make_tree(*GOOD)
    for name, mode in (("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tar.xz", "w:xz"), ("a.tbz2", "w:bz2")):
        with tarfile.open(tmp_path / name, mode) as archive:
            archive.add(tree, "tree")
        assert missing(tmp_path / name) is None
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(b"<html>not found</html>" * 100)
        assert "Get it again." in (missing(tmp_path / name) or "") or "cannot be read" in (
            missing(tmp_path / name) or ""
        )
        (tmp_path / name).write_bytes(content[:20])
        assert missing(tmp_path / name) is not None
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tree / GOOD[0], GOOD[0])
    assert missing(tmp_path / "a.zip") is None
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:-30])
    assert "damaged or incomplete (no zip file). Get it again." in (missing(tmp_path / "a.zip") or "")
    (tmp_path / "a.rar").touch()
    assert "not an archive of a known kind. Known: a folder, .zip, .tar" in (missing(tmp_path / "a.rar") or "")


def test_a_tree_in_voc_form(tmp_path: Path, make_tree: MakeTree) -> None:
    def told(**options: Any) -> str:
        return VocFolderOptions(path="tree", **options).missing(tmp_path) or ""

    tree = make_tree("V/JPEGImages/1.png")
    assert "holds no `Annotations/*.xml`" in told()
    (tree / "V/Annotations").mkdir()
    (tree / "V/Annotations/1.xml").touch()
    assert told() == ""
    (tree / "V/ImageSets/Main").mkdir(parents=True)
    (tree / "V/ImageSets/Main/train.txt").touch()
    assert "no list `ImageSets/Main/trainval.txt` for `train`. Did you mean 'train'?" in told()
    assert told(train="train", test=None) == ""
    (tree / "V/JPEGImages/1.png").unlink()
    assert "holds no images in `JPEGImages`" in told(train="train", test=None)
