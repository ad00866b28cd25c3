"""Sets in Pascal VOC form, prepared: what comes of them, and what is said of those that do not fit together."""

import logging
import os
import pickle
import shutil
import signal
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tessera.data import packing
from tessera.data.datasets.options.voc import VocFolderOptions
from tessera.data.decode import Encoded
from tessera.data.detection import DetectionDataset, DetectionSplit, load_detection
from tessera.data.prepare import prepare_dataset
from tessera.data.store import load_dataset
from tessera.errors import ArtifactError, DataError

Prepare = Callable[..., tuple[dict[str, float], DetectionDataset]]
LISTS = {"trainval": ["c", "a", "e"], "test": ["d", "b"], "train": ["c"], "other": ["a"]}


@pytest.fixture
def tree(voc: Any, tmp_path: Path) -> Path:
    """Five images in a folder of a folder: c shows nothing, d shows something difficult alone."""
    annotations = {
        "a": voc.annotation(voc.marked("dog", (1, 2, 10, 12)), voc.marked("cat", (3, 4, 40, 30))),
        "b": voc.annotation(voc.marked("cat", (5, 5, 9, 9)), voc.marked("cat", (11, 5, 19, 9), 1)),
        "c": voc.annotation(),
        "d": voc.annotation(voc.marked("owl", (2, 2, 3, 3), 1)),
        "e": voc.annotation(voc.marked("dog", (30, 20, 50, 25))),
    }
    voc.write(tmp_path / "tree/deep/set", annotations, LISTS)
    return tmp_path / "tree"


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    def run(output: str = "output", state: str = "state", **options: Any) -> tuple[dict[str, float], DetectionDataset]:
        folder = tmp_path / output
        folder.mkdir()
        made = VocFolderOptions(**{"path": "tree", "image_size": 32, **options})
        return prepare_dataset(made, tmp_path, folder, tmp_path / state, 4000), load_detection(folder)

    return run


def shown(split: DetectionSplit) -> list[tuple[str, list[list[float]], list[int], list[bool]]]:
    """All that is known of the images of a split."""
    found = []
    for i in range(len(split)):
        objects = split.objects(i)
        name = Path(split.name(i)).stem
        found.append((name, objects.boxes.tolist(), objects.labels.tolist(), objects.difficult.tolist()))
    return found


def test_what_is_made(prepare: Prepare, tree: Path, tmp_path: Path) -> None:
    metrics, dataset = prepare()
    assert metrics == {
        "num_train": 3, "num_test": 2, "num_classes": 3, "num_objects": 6, "num_difficult": 2, "num_skipped": 0,
    }  # fmt: skip
    assert dataset.classes == ("cat", "dog", "owl")
    assert shown(dataset.train) == [
        ("c", [], [], []),
        ("a", [[0, 1, 10, 12], [2, 3, 40, 30]], [1, 0], [False, False]),
        ("e", [[29, 19, 40, 25]], [1], [False]),
    ]
    assert shown(dataset.test) == [
        ("d", [[1, 1, 3, 3]], [2], [True]),
        ("b", [[4, 4, 9, 9], [10, 4, 19, 9]], [0, 0], [False, True]),
    ]
    assert dataset.train.name(1) == "deep/set/JPEGImages/a.jpg"
    with Image.open(tree / "deep/set/JPEGImages/a.jpg") as image:
        assert torch.equal(dataset.train.image(1), torch.from_numpy(np.array(image)).permute(2, 0, 1))
    assert dataset.train.image(1).is_contiguous()
    assert dataset.train.size(1) == (30, 40) == tuple(dataset.train.image(1).shape[1:])
    objects = dataset.train.objects(0)
    assert (objects.boxes.shape, objects.boxes.dtype) == ((0, 4), torch.float32)
    assert (objects.labels.dtype, objects.difficult.dtype) == (torch.int64, torch.bool)
    files = {path.name for path in (tmp_path / "output").iterdir() if path.suffix != ".bin"}
    assert files == {"index.npy", "names.txt", "labels.npy", "objects.npz", "splits.npz", "dataset.json"}
    assert (
        (tmp_path / "output/images-00000.bin")
        .read_bytes()
        .startswith(
            (tree / "deep/set/JPEGImages/a.jpg").read_bytes()  # as it was encoded
        )
    )


def test_pretext_tasks_see_squares_of_it(prepare: Prepare, tree: Path, tmp_path: Path) -> None:
    _, boxes = prepare()
    dataset = load_dataset(tmp_path / "output", torch.device("cpu"))
    assert dataset.train.images.shape == (3, 3, 32, 32)
    assert dataset.train.labels.tolist() == [-1, -1, -1]
    pixels = dataset.train.images[:].double() / 255
    assert boxes.mean == dataset.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert boxes.std == dataset.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-12)


def test_splits_can_be_pickled_chosen_from_and_written_to(prepare: Prepare, tree: Path) -> None:
    _, dataset = prepare()
    again = pickle.loads(pickle.dumps(dataset.train))
    assert shown(again) == shown(dataset.train)
    assert torch.equal(again.image(2), dataset.train.image(2))
    assert shown(dataset.train.subset(torch.tensor([2, 0]))) == [shown(dataset.train)[i] for i in (2, 0)]
    before = shown(dataset.train)
    dataset.train.objects(1).boxes.zero_()
    assert shown(dataset.train) == before
    objects = dataset.train.objects(1)
    assert objects.select(objects.labels == 0).boxes.tolist() == [[2, 3, 40, 30]]


@pytest.mark.parametrize("suffix", [".tar", ".tar.xz", ".zip"])
def test_an_archive_is_as_its_tree(
    prepare: Prepare, tree: Path, pack: Callable[[Path, str], Path], suffix: str
) -> None:
    pack(tree, suffix)
    for number, options in enumerate(({}, {"test": None}, {"test": None, "test_fraction": 0.4, "seed": 3})):
        _, plain = prepare(f"plain{number}", f"state{number}", **options)
        _, packed = prepare(f"packed{number}", f"other{number}", path=f"packed{suffix}", **options)
        assert packed.classes == plain.classes
        for split in ("train", "test"):
            assert shown(packed.splits[split]) == shown(plain.splits[split])
            for i in range(len(plain.splits[split])):
                assert torch.equal(packed.splits[split].image(i), plain.splits[split].image(i))


def test_without_lists_a_share_is_split_off(prepare: Prepare, voc: Any, tmp_path: Path) -> None:
    something = voc.annotation(voc.marked("cat", (1, 1, 9, 9)))
    voc.write(tmp_path / "tree", {f"{i:02}": something if i % 2 else voc.annotation() for i in range(20)})
    _, dataset = prepare(test_fraction=0.3)
    names = [[name for name, *_ in shown(dataset.splits[split])] for split in ("train", "test")]
    assert sorted(names[0] + names[1]) == [f"{i:02}" for i in range(20)]
    assert len(names[1]) == 6
    assert sum(int(name) % 2 for name in names[1]) == 3  # of those with objects and those without alike
    _, again = prepare("again", "state2", test_fraction=0.3)
    _, other = prepare("other", "state3", test_fraction=0.3, seed=1)
    assert shown(again.test) == shown(dataset.test)
    assert shown(other.test) != shown(dataset.test)


def test_what_shows_something_is_learned_from(
    prepare: Prepare, voc: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    something = voc.annotation(voc.marked("cat", (1, 1, 9, 9)))
    voc.write(tmp_path / "tree", {"a": voc.annotation(), "b": something, "c": voc.annotation()})
    for seed in range(3):
        metrics, dataset = prepare(f"output{seed}", f"state{seed}", seed=seed)
        assert "b" in [name for name, *_ in shown(dataset.train)]
        assert (metrics["num_train"], metrics["num_test"]) == (2, 1)
    assert "tree: no test image shows an object that counts: there is nothing to measure" in caplog.text


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([], "1 annotated image is too few to split `test_fraction` off. Add some"),
        ([("cat", (1, 1, 9, 9))], "1 annotated image is too few to split `test_fraction` off. Add some"),
    ],
)
def test_one_image(prepare: Prepare, voc: Any, tmp_path: Path, objects: Any, message: str) -> None:
    voc.write(tmp_path / "tree", {"a": voc.annotation(*(voc.marked(*one) for one in objects))})
    with pytest.raises(DataError, match=message):
        prepare()


def test_one_image_to_learn_from_and_one_to_test_on(prepare: Prepare, voc: Any, tmp_path: Path) -> None:
    something = voc.annotation(voc.marked("cat", (1, 1, 9, 9)))
    voc.write(tmp_path / "tree", {"a": something, "b": something}, {"trainval": ["a"], "test": ["b"]})
    metrics, dataset = prepare()
    assert shown(dataset.train) == [("a", [[0, 0, 9, 9]], [0], [False])]
    assert metrics["num_objects"] == 2


@pytest.mark.parametrize("objects", [[], [("cat", (1, 1, 9, 9), 1)]])
def test_nothing_to_learn(
    prepare: Prepare, voc: Any, tmp_path: Path, objects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = voc.annotation(*(voc.marked(*one) for one in objects))
    voc.write(tmp_path / "tree", {"a": text, "b": text}, {"trainval": ["a"], "test": ["b"]})
    monkeypatch.setattr(packing, "_check", lambda chunk: pytest.fail("told before any image is packed"))
    with pytest.raises(DataError, match=r"^tree: nothing to learn: 1 training image, but no object, or none that is"):
        prepare()


def test_classes_by_name_and_their_order(prepare: Prepare, tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics, dataset = prepare(classes=["dog", "cat", "elk"])
    assert dataset.classes == ("dog", "cat", "elk")
    assert shown(dataset.train)[1][2] == [0, 1]
    assert metrics["num_skipped"] == 1
    assert "d.xml: object 1 (`owl`) is of no known class. Correct or remove it, or change `classes`." in caplog.text
    assert "tree: no training object of elk that is not difficult" in caplog.text
    with pytest.raises(DataError, match=r"d.xml: object 1 \(`owl`\) is of no known class"):
        prepare("refused", classes=["dog", "cat", "elk"], damaged="refuse")


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


def test_strict_options_refuse() -> None:
    options = VocFolderOptions(path="x")
    assert options.damaged == "skip"
    assert options.strict() == VocFolderOptions(path="x", damaged="refuse")
    assert set(options.label_columns().values()) == {"boxes"}
    assert VocFolderOptions(path="sets/BCCD.tar.xz").word() == "bccd"


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
