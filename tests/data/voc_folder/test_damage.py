"""Sets in Pascal VOC form that are damaged, changed under the reader, or interrupted in the middle."""

import logging
import os
import signal
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from voc_folder_making import Prepare, shown

from tessera.data import packing
from tessera.data.decode import Encoded
from tessera.data.detection import load_detection
from tessera.errors import ArtifactError, DataError


def break_tree(tree: Path, how: str) -> None:
    root = tree / "deep/set"
    image = root / "JPEGImages/b.jpg"
    if how == "no image":
        image.unlink()
    elif how == "truncated":
        image.write_bytes(image.read_bytes()[:600])
    elif how == "no image at all":
        image.write_text("hello")
    elif how == "empty":
        image.write_bytes(b"")
    elif how == "broken link":
        image.unlink()
        image.symlink_to(tree / "nowhere.jpg")
    elif how == "no annotation":
        (root / "Annotations/b.xml").unlink()
    elif how == "no XML":
        (root / "Annotations/b.xml").write_text("<annotation>")
    elif how == "bomb":
        (root / "Annotations/b.xml").write_text('<!DOCTYPE a [<!ENTITY x "x">]><annotation>&x;</annotation>')
    elif how == "in a list":
        with (root / "ImageSets/Main/test.txt").open("a") as file:
            file.write("b2\n")


@pytest.mark.parametrize("form", ["tree", "archive"])
@pytest.mark.parametrize(
    ("how", "file", "message"),
    [
        ("no image", "Annotations/b.xml", "its image, `b`, is not in `JPEGImages`. Add the image, or remove the"),
        ("truncated", "JPEGImages/b.jpg", "cannot be decoded ("),
        ("no image at all", "JPEGImages/b.jpg", "cannot be decoded (no image of a known kind). Remove or replace it."),
        ("empty", "JPEGImages/b.jpg", "cannot be decoded (empty file). Remove or replace it."),
        ("no annotation", "", "image `b` is in a list, but has no `Annotations/b.xml`. Add one, without objects if it"),
        ("no XML", "Annotations/b.xml", "it does not parse as XML (no element found: line 1, column 12). Correct or"),
        ("bomb", "Annotations/b.xml", "it has a DOCTYPE, which is never read. Correct or remove it."),
        ("in a list", "", "image `b2` is in a list, but has no `Annotations/b2.xml`. Add one, without objects"),
        ("broken link", "JPEGImages/b.jpg", "cannot be read (No such file or directory). Remove or replace it."),
    ],
)  # fmt: skip
def test_bad_input(
    prepare: Prepare, tree: Path, pack: Callable[[Path, str], Path], caplog: pytest.LogCaptureFixture,
    how: str, file: str, message: str, form: str,
) -> None:  # fmt: skip
    if form == "archive" and how == "broken link":
        pytest.skip("no file of an archive")
    break_tree(tree, how)
    path = tree if form == "tree" else pack(tree, ".tar")
    where = f"{path}/deep/set/{file}: " if form == "tree" else f"{path}: `tree/deep/set/{file}`: "
    metrics, dataset = prepare(path=path.name)
    assert metrics["num_skipped"] == 1
    assert [name for name, *_ in shown(dataset.test)] == (["d", "b"] if how == "in a list" else ["d"])
    assert [name for name, *_ in shown(dataset.train)] == ["c", "a", "e"]
    lines = [record.getMessage() for record in caplog.records if "passed over" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith(f"passed over {where if file else f'{path}: '}{message}")
    assert "\n" not in lines[0]
    with pytest.raises(DataError) as raised:
        prepare("refused", "another", path=path.name, damaged="refuse")
    assert str(raised.value).startswith(f"{where if file else f'{path}: '}{message}")
    assert "\n" not in str(raised.value)


def test_members_that_lead_out_of_an_archive(
    prepare: Prepare, tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.add(tree, "tree")
        archive.add(tree / "deep/set/JPEGImages/a.jpg", "../JPEGImages/x.jpg")
        link = tarfile.TarInfo("tree/deep/set/JPEGImages/f.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    metrics, _ = prepare(path="set.tar")
    assert metrics["num_skipped"] == 2
    assert "`../JPEGImages/x.jpg`: leads out of the archive" in caplog.text
    assert "f.jpg`: a link" in caplog.text
    with pytest.raises(DataError, match="leads out of the archive"):
        prepare("refused", path="set.tar", damaged="refuse")


def test_damage_to_most_images_ends_only_where_nothing_is_left(prepare: Prepare, tree: Path) -> None:
    for name in "bce":
        (tree / f"deep/set/JPEGImages/{name}.jpg").write_text("damaged")
    metrics, dataset = prepare()
    assert metrics["num_skipped"] == 3
    assert shown(dataset.train) == [("a", [[0, 1, 10, 12], [2, 3, 40, 30]], [1, 0], [False, False])]
    (tree / "deep/set/JPEGImages/a.jpg").write_text("damaged")
    with pytest.raises(DataError, match=r"nothing to learn: 3 training images \(3 cannot be decoded\), but no object"):
        prepare("nothing", "another")


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        ("ace", "tree: nothing to learn: 0 training images"),
        ("bd", "tree: no test image is left"),
        ("abcde", "tree: no test"),
    ],
)
def test_nothing_is_left_of_a_split(prepare: Prepare, tree: Path, damaged: str, message: str) -> None:
    for name in damaged:
        file = tree / f"deep/set/JPEGImages/{name}.jpg"
        file.write_bytes(file.read_bytes()[:-200])  # which is found when it is decoded
    with pytest.raises(DataError, match=f"^{message}"):
        prepare()


def test_no_test_image_is_found(prepare: Prepare, tree: Path) -> None:
    for name in "bd":
        (tree / f"deep/set/JPEGImages/{name}.jpg").unlink()
    with pytest.raises(DataError, match=r"^tree: no test image is left"):
        prepare()


def test_a_killed_preparation_goes_on(
    prepare: Prepare, voc: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    something = voc.annotation(voc.marked("cat", (1, 1, 9, 9)))
    tree = voc.write(tmp_path / "tree", {f"{i:02}": something for i in range(24)})
    (tree / "JPEGImages/02.jpg").write_text("damaged")
    metrics, plain = prepare("uninterrupted", "other")
    check, names = packing._check, []

    def noted(chunk: list[Encoded]) -> list[Any]:
        names.extend(encoded.name for encoded in chunk)
        return check(chunk)

    def kill(chunk: list[Encoded]) -> list[Any]:
        if "17" in chunk[0].name:
            while not any((tmp_path / "state").glob("images-*.json")):  # a shard is complete
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return check(chunk)

    child = os.fork()
    if child == 0:
        monkeypatch.setattr(packing, "_check", kill)
        monkeypatch.setattr(packing, "CHUNK", 1)
        prepare("killed")
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    monkeypatch.setattr(packing, "_check", noted)
    with caplog.at_level(logging.INFO, "tessera"):
        resumed, dataset = prepare()
    assert "going on after" in caplog.text
    assert 0 < len(names) < 20
    assert resumed == metrics
    assert metrics["num_skipped"] == 1
    assert all(shown(dataset.splits[split]) == shown(plain.splits[split]) for split in ("train", "test"))
    for path in (tmp_path / "output").iterdir():
        assert path.suffix == ".npz" or path.read_bytes() == (tmp_path / "uninterrupted" / path.name).read_bytes()


def test_data_that_changed_between_two_runs(prepare: Prepare, voc: Any, tree: Path, tmp_path: Path) -> None:
    prepare()
    (tree / "deep/set/JPEGImages/a.jpg").write_bytes(voc.jpeg(3, 20, 50))
    with pytest.raises(DataError, match=r"a.jpg` had 40 x 30 px when it was packed and has 20 x 50 px now"):
        prepare("changed")
    _, dataset = prepare("again")
    assert dataset.train.size(1) == (50, 20)
    assert shown(dataset.train)[1][1] == [[0, 1, 10, 12], [2, 3, 20, 30]]


def test_a_damaged_artifact(prepare: Prepare, tree: Path, tmp_path: Path) -> None:
    prepare()
    folder = tmp_path / "output"
    shard = folder / "images-00000.bin"
    data = bytearray(shard.read_bytes())
    data[700] ^= 4
    shard.unlink()
    shard.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"a.jpg` .* does not match its checksum"):
        load_detection(folder).train.image(1)
    (folder / "objects.npz").write_bytes(b"")
    with pytest.raises(ArtifactError, match="not a readable dataset of boxes"):
        load_detection(folder)
    (folder / "dataset.json").write_text('{"format": "packed"}')
    with pytest.raises(ArtifactError, match="its images are not marked by boxes"):
        load_detection(folder)
