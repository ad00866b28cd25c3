"""Lists, classes and names of a set in Pascal VOC form, and what is said of those that do not fit together."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from voc_folder_making import Prepare, shown

from tessera.data.datasets.options.voc import VocFolderOptions
from tessera.errors import DataError


def test_classes_by_name_and_their_order(prepare: Prepare, tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics, dataset = prepare(classes=["dog", "cat", "elk"])
    assert dataset.classes == ("dog", "cat", "elk")
    assert shown(dataset.train)[1][2] == [0, 1]
    assert metrics["num_skipped"] == 1
    assert "d.xml: object 1 (`owl`) is of no known class. Correct or remove it, or change `classes`." in caplog.text
    assert "tree: no training object of elk that is not difficult" in caplog.text
    with pytest.raises(DataError, match=r"d.xml: object 1 \(`owl`\) is of no known class"):
        prepare("refused", classes=["dog", "cat", "elk"], damaged="refuse")


def test_an_image_may_have_another_suffix_or_another_name(prepare: Prepare, voc: Any, tree: Path) -> None:
    root = tree / "deep/set"
    (root / "JPEGImages/b.jpg").unlink()
    (root / "JPEGImages/b.png").write_bytes(voc.jpeg(7, form="png"))
    (root / "JPEGImages/d.jpg").rename(root / "JPEGImages/photo 1.jpg")
    (root / "Annotations/d.xml").write_text(voc.annotation(voc.marked("cat", (1, 1, 9, 9)), filename="photo 1.jpg"))
    _, dataset = prepare(damaged="refuse")
    assert [dataset.test.name(i) for i in range(2)] == [
        f"deep/set/JPEGImages/{name}" for name in ("photo 1.jpg", "b.png")
    ]
    assert shown(dataset.test)[0][1] == [[0, 0, 9, 9]]


def test_two_annotations_of_one_image(prepare: Prepare, voc: Any, tree: Path) -> None:
    root = tree / "deep/set"
    (root / "JPEGImages/d.jpg").unlink()
    (root / "Annotations/d.xml").write_text(voc.annotation(filename="a.jpg"))
    with pytest.raises(
        DataError, match=r"d.xml: its image, `deep/set/JPEGImages/a.jpg`, has another annotation already"
    ):
        prepare(damaged="refuse")


def test_lists_as_they_are_found(prepare: Prepare, tree: Path) -> None:
    """VOC's list of one class has a number behind each name; others write suffixes, blank lines, or a name twice."""
    (tree / "deep/set/ImageSets/Main/dog_trainval.txt").write_text("a  1\nc -1\n\ne.jpg\r\na 1\n")
    _, dataset = prepare(train="dog_trainval", damaged="refuse")
    assert [name for name, *_ in shown(dataset.train)] == ["a", "c", "e"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "trainvla"}, "no list `ImageSets/Main/trainvla.txt` for `train`. Set `train` to another list. "
         "Did you mean 'trainval'? Known: empty, other, test, train, trainval."),
        ({"test": "tets"}, "no list `ImageSets/Main/tets.txt` for `test`. Set `test` to another list, or to null: "),
        ({"train": "empty"}, "the list `ImageSets/Main/empty.txt` for `train` is empty. Set `train` to another list."),
        ({"test": "other"}, "image `a` is in both lists, `trainval` and `other`: what is tested must not be learned."),
        ({"test": "trainval", "train": "twice"}, "image `a` and 1 more are in both lists, `twice` and `trainval`"),
    ],
)  # fmt: skip
def test_lists_that_do_not_fit(prepare: Prepare, tree: Path, options: dict[str, str], message: str) -> None:
    (tree / "deep/set/ImageSets/Main/empty.txt").write_text("\n")
    if "twice" in options.values():
        shutil.copy(tree / "deep/set/ImageSets/Main/trainval.txt", tree / "deep/set/ImageSets/Main/twice.txt")
        (tree / "deep/set/ImageSets/Main/twice.txt").write_text("a\ne\nd\n")
    with pytest.raises(DataError) as raised:
        prepare(**options)
    assert str(raised.value).startswith(f"{tree}: {message}")


def test_what_is_not_in_this_form(prepare: Prepare, tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree / "deep/set", tree / "deep/twin")
    with pytest.raises(
        DataError, match=r"holds 2 sets in Pascal VOC form, `deep/set` and `deep/twin`. Set `path` to one"
    ):
        prepare()
    _, dataset = prepare("one", path="tree/deep/twin")
    assert len(dataset.train) == 3
    (tmp_path / "bare/some/photos").mkdir(parents=True)
    (tmp_path / "bare/some/photos/1.jpg").touch()
    with pytest.raises(DataError, match=r"bare: holds no `Annotations/\*.xml`. Found folders some/photos"):
        prepare("bare2", path="bare")
    with pytest.raises(DataError, match="not found"):
        prepare("no", path="nowhere")
    with pytest.raises(DataError, match="`sha256` is the checksum of an archive"):
        prepare("sum", sha256="0" * 64)


def test_strict_options_refuse() -> None:
    options = VocFolderOptions(path="x")
    assert options.damaged == "skip"
    assert options.strict() == VocFolderOptions(path="x", damaged="refuse")
    assert set(options.label_columns().values()) == {"boxes"}
    assert VocFolderOptions(path="sets/BCCD.tar.xz").word() == "bccd"
