"""Label columns beside the class: what each dataset has, on disk and in memory, and hierarchies of classes."""

import json
import os
import pickle
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import load_sample_image

from tessera import registry
from tessera.data.columns import RawColumn
from tessera.data.datasets.digits_m import DigitsM
from tessera.data.datasets.hierarchies import HIERARCHIES
from tessera.data.datasets.levels import columns_above
from tessera.data.datasets.options.digits import DigitsMOptions
from tessera.data.datasets.options.image_folder import ImageFolderOptions
from tessera.data.datasets.options.torchvision import Cifar100Options
from tessera.data.labels import MAPS
from tessera.data.prepare import prepare_dataset
from tessera.data.store import Dataset, load_dataset, save_dataset
from tessera.errors import ArtifactError, DataError

CPU = torch.device("cpu")
Prepared = Callable[..., Dataset]
# The official coarse label of each fine class, in the order of their names, as the dataset's authors distribute it.
COARSE = [
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7,
    6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10,
    16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16,
    12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
]  # fmt: skip


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    def make(options: Any, data_root: Path = Path("nowhere"), name: str = "made") -> Dataset:
        folder = tmp_path / name
        folder.mkdir()
        prepare_dataset(options, data_root, folder)
        return load_dataset(folder, CPU)

    return make


def fine_classes() -> list[str]:
    return sorted(name for members in HIERARCHIES["cifar100"]["superclass"].values() for name in members)


def save(folder: Path, **columns: RawColumn) -> None:
    images = np.random.default_rng(0).integers(256, size=(8, 4, 4, 3), dtype=np.uint8)
    splits = {"train": np.arange(5), "test": np.arange(5, 7), "unlabeled": np.array([7])}
    save_dataset(folder, images, np.array([0, 1, 0, 1, 1, 0, 1, -1]), splits, ["a", "b"], columns)


def test_columns_go_with_their_images(tmp_path: Path) -> None:
    age = np.array([2, 0, 1, 2, -1, 1, 0, -1])
    save(tmp_path, age=RawColumn(age, ["young", "grown", "old"]))
    dataset = load_dataset(tmp_path, CPU)
    assert list(dataset.columns) == ["class", "age"]
    assert dataset.columns["age"].classes == ("young", "grown", "old")
    assert dataset.train.subset(torch.tensor([3, 0])).columns["age"].tolist() == [2, 2]
    assert dataset.source_split().columns["age"].tolist() == [2, 0, 1, 2, -1, -1]
    by_age = dataset.by("age")
    assert by_age.classes == ("young", "grown", "old")
    assert by_age.test.labels.tolist() == [1, 0]
    assert torch.equal(by_age.train.images, dataset.train.images)
    assert dataset.by("class") is dataset
    read = load_dataset(tmp_path, CPU, labels="age")
    assert (read.classes, read.train.labels.tolist()) == (by_age.classes, [2, 0, 1, 2, -1])
    with pytest.raises(DataError, match=r"no label column `agee`\. Did you mean 'age'\? Known: age, class"):
        dataset.by("agee")


def test_a_dataset_without_further_columns_is_written_as_before(tmp_path: Path) -> None:
    save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dataset.json",
        "images.npy",
        "labels.npy",
        "splits.npz",
    ]
    assert list(json.loads((tmp_path / "dataset.json").read_text())) == [
        "format",
        "classes",
        "image_size",
        "mean",
        "std",
    ]


def test_what_was_made_without_a_column_names_the_folder_to_delete(tmp_path: Path) -> None:
    save(tmp_path)
    with pytest.raises(ArtifactError, match=r"no label column `age` \(an older version made it\)\. Delete the"):
        load_dataset(tmp_path, CPU, labels="age")


@pytest.mark.parametrize(
    ("name", "labels", "match"),
    [
        ("age", np.zeros(7, np.int64), "must have one of 2 classes, or -1, an image"),
        ("age", np.full(8, 2), "must have one of 2 classes"),
        ("../age", np.zeros(8, np.int64), "should be called by a word"),
        ("class", np.zeros(8, np.int64), "should be called by a word, and not `class`"),
    ],
)
def test_a_column_that_does_not_fit_is_refused(tmp_path: Path, name: str, labels: np.ndarray, match: str) -> None:
    with pytest.raises(DataError, match=match):
        save(tmp_path, **{name: RawColumn(labels, ["a", "b"])})


def test_digits_over_photographs_have_the_columns_of_what_was_drawn() -> None:
    """The columns name the photograph, and its reduction, in which the image's border is found."""
    options = DigitsMOptions(copies=1, columns={"age": "digit"})
    raw = DigitsM(options).read(Path("nowhere"))
    assert set(options.label_columns()) == {"class", *raw.columns}
    assert np.array_equal(raw.columns["digit"].labels, raw.labels)
    assert raw.columns["age"] is raw.columns["digit"]
    groups = raw.columns["group"]
    assert {groups.classes[groups.labels[i]] for i in np.flatnonzero(raw.labels == 8)} == {"looped"}
    assert [len(raw.columns[name].classes) for name in ("photograph", "zoom", "group")] == [2, 3, 3]
    # An image's outer column holds no digit: it stands, to the grey value, in the photograph at that reduction alone.
    for index in [np.flatnonzero(raw.columns["photograph"].labels == number)[5] for number in (0, 1)]:
        strip = raw.images[index, :, 0].astype(np.int64)
        places = []
        for photograph, name in enumerate(("china.jpg", "flower.jpg")):
            for zoom, factor in enumerate((1, 2, 4)):
                reduced = reduce(load_sample_image(name), factor)
                windows = np.lib.stride_tricks.sliding_window_view(reduced, 32, axis=0)  # (h - 31, w, 3, 32)
                off = np.abs(windows - strip.T).max(axis=(2, 3)).min()
                places.append((off, photograph, zoom))
        off, *found = min(places)
        assert off <= 4
        assert found == [raw.columns[name].labels[index] for name in ("photograph", "zoom")]


def reduce(photograph: np.ndarray, factor: int) -> np.ndarray:
    """Means over blocks, tile by tile, as tiles do not share blocks: (h, w, 3) int64."""
    height, width = photograph.shape[0] // 2, photograph.shape[1] // 4
    rows = []
    for row in range(2):
        tiles = []
        for column in range(4):
            tile = photograph[row * height : (row + 1) * height, column * width : (column + 1) * width].astype(
                np.float64
            )
            h, w = height // factor, width // factor
            tiles.append(tile[: h * factor, : w * factor].reshape(h, factor, w, factor, 3).mean(axis=(1, 3)))
        rows.append(np.concatenate(tiles, axis=1))
    return np.concatenate(rows).round().astype(np.int64)


def test_renaming_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"there is no label column `digits`\. Did you mean 'digit'"):
        DigitsMOptions(columns={"age": "digits"})
    with pytest.raises(ValidationError, match="`zoom` is a label column already"):
        DigitsMOptions(columns={"zoom": "digit"})
    assert "columns" not in DigitsMOptions().model_dump()


def test_cifar100_s_superclasses_are_the_official_ones() -> None:
    columns = columns_above(HIERARCHIES["cifar100"], np.arange(100), fine_classes(), "cifar100")
    assert columns["superclass"].labels.tolist() == COARSE
    sizes = {name: np.bincount(column.labels).tolist() for name, column in columns.items()}
    assert sizes["superclass"] == [5] * 20
    assert sizes["group"] == [15, 10, 10, 10, 5, 15, 15, 5, 5, 10]
    assert sizes["kingdom"] == [50, 15, 35]
    for fine, coarse in (("superclass", "group"), ("group", "kingdom")):  # each level divides the one below
        pairs = set(zip(columns[fine].labels.tolist(), columns[coarse].labels.tolist(), strict=True))
        assert len(pairs) == len(columns[fine].classes)


def test_cifar100_from_torchvision_s_files_agrees_with_their_coarse_labels(
    tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    random, coarse = np.random.default_rng(0), {}
    for name, number in (("train", 200), ("test", 100)):
        fine = random.permutation(np.arange(number) % 100).tolist()
        coarse[name] = [COARSE[label] for label in fine]
        data = random.integers(256, size=(number, 3072), dtype=np.uint8)
        entry = {"data": data, "fine_labels": fine, "coarse_labels": coarse[name], "filenames": ["x"] * number}
        (folder / name).write_bytes(pickle.dumps(entry))
    names = {"fine_label_names": fine_classes(), "coarse_label_names": list(HIERARCHIES["cifar100"]["superclass"])}
    (folder / "meta").write_bytes(pickle.dumps(names))
    monkeypatch.setattr("torchvision.datasets.CIFAR100._check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    dataset = prepared(Cifar100Options(), tmp_path)
    for name in ("train", "test"):
        assert dataset.splits[name].columns["superclass"].tolist() == coarse[name]
    assert set(dataset.columns) == set(Cifar100Options().label_columns())


ANIMALS = {"kind": {"animal": ["cat", "dog"], "vehicle": ["car"]}, "pet": {"yes": ["cat", "dog"], "no": ["car", "cow"]}}


def pictures(make_tree: Any) -> Path:
    names = [f"{split}/{name}/{i}.png" for split in ("train", "test") for name in ("car", "cat", "dog") for i in (0, 1)]
    tree: Path = make_tree(*names)
    return tree


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_of_one_s_own_has_the_levels_that_a_study_gives(
    make_tree: Any, prepared: Prepared, packed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    tree = pictures(make_tree)
    options = ImageFolderOptions(path=tree.name, image_size=8, hierarchy=ANIMALS, packed=packed)
    dataset = prepared(options, tree.parent)
    assert set(options.label_columns()) == set(dataset.columns) == {"class", "kind", "pet"}
    assert dataset.columns["kind"].classes == ("animal", "vehicle")
    assert dataset.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.train.columns["kind"].tolist() == [1, 1, 0, 0, 0, 0]
    assert dataset.columns["pet"].classes == ("no", "yes")  # by name: a key does not tell the order of a mapping
    told = "`pet`: no class `cow`. Known: car, cat, dog.", "`kind`: groups of one class: vehicle"
    assert all(line in caplog.text for line in told)


def test_the_order_in_which_groups_are_written_is_of_no_account() -> None:
    turned = {column: dict(reversed(level.items())) for column, level in reversed(ANIMALS.items())}
    dumps = [
        json.dumps(ImageFolderOptions(path="x", image_size=8, hierarchy=of).model_dump()) for of in (ANIMALS, turned)
    ]
    assert dumps[0] == dumps[1]


@pytest.mark.parametrize(
    ("level", "found"),
    [
        ({"animal": ["cats", "dog"], "vehicle": ["car"]}, "class `cat` is in no group. Did you mean `cat` by `cats`?"),
        ({"animal": ["cat", "dog"], "vehicle": ["car", "cat"]}, "class `cat` is in `animal` and in `vehicle`"),
        ({"thing": ["cat", "dog", "car"]}, "all classes are in one group"),
    ],
)
def test_a_hierarchy_that_does_not_fit_is_told_before_any_job(make_tree: Any, level: Any, found: str) -> None:
    tree = pictures(make_tree)
    options = ImageFolderOptions(path=tree.name, image_size=8, hierarchy={"kind": level})
    told = options.missing(tree.parent)
    assert told is not None
    assert found in told
    assert "\n" not in told
    with pytest.raises(ValidationError, match=re.escape(found)):  # of an archive as well, where classes are named
        ImageFolderOptions(path="x.zip", image_size=8, hierarchy={"kind": level}, classes=["car", "cat", "dog"])


def test_names_of_groups_can_be_shown(make_tree: Any, prepared: Prepared) -> None:
    tree = pictures(make_tree)
    unfit = {"kind": {"a\nb": ["cat", "dog"], "vehicle": ["car"]}}
    with pytest.raises(DataError, match="not printable"):
        prepared(ImageFolderOptions(path=tree.name, image_size=8, hierarchy=unfit), tree.parent)


def test_a_hierarchy_that_does_not_fit_is_told_in_a_line(make_tree: Any, prepared: Prepared) -> None:
    tree = pictures(make_tree)
    lacking = {"kind": {"animal": ["cats", "dog"], "vehicle": ["car"]}}
    with pytest.raises(DataError, match=r"tree: `kind`: class `cat` is in no group\. Did you mean `cat` by `cats`\?"):
        prepared(ImageFolderOptions(path=tree.name, image_size=8, hierarchy=lacking), tree.parent, "one")
    twice = {"kind": {"animal": ["cat", "dog"], "vehicle": ["car", "cat"]}}
    with pytest.raises(DataError, match="class `cat` is in `animal` and in `vehicle`"):
        prepared(ImageFolderOptions(path=tree.name, image_size=8, hierarchy=twice), tree.parent, "two")
    with pytest.raises(ValidationError, match="`class` is the class itself"):
        ImageFolderOptions(path="x", image_size=8, hierarchy={"class": {"a": ["b"]}})


def test_every_dataset_says_its_columns() -> None:
    for name, part in registry.parts("dataset").items():
        kinds = part.options.kinds()  # type: ignore[attr-defined]
        assert kinds, name
        assert kinds & {"class", "boxes", *MAPS}
        assert not {"class", "boxes"} <= kinds


def test_the_real_archive_s_own_list_agrees() -> None:
    root = os.environ.get("TESSERA_DATA")
    if root is None or not Path(root, "cifar100.tar.xz").exists():
        pytest.skip("TESSERA_DATA names no folder with cifar100.tar.xz")
    with tarfile.open(Path(root, "cifar100.tar.xz")) as archive:
        text = archive.extractfile("cifar100/superclasses.txt").read().decode()  # type: ignore[union-attr]
    listed = dict(line.split("\t") for line in text.splitlines())
    levels = HIERARCHIES["cifar100"]["superclass"]
    ours = {name: group for group, members in levels.items() for name in members}
    assert listed == ours


def test_a_damaged_image_takes_its_labels_along(make_tree: Any, prepared: Prepared) -> None:
    tree = pictures(make_tree)
    (tree / "train" / "car" / "0.png").write_bytes(b"no image")
    options = ImageFolderOptions(path=tree.name, image_size=8, hierarchy=ANIMALS, packed=True, damaged="skip")
    train = prepared(options, tree.parent).train
    assert train.labels.tolist() == [0, 1, 1, 2, 2]
    assert train.columns["kind"].tolist() == [1, 0, 0, 0, 0]
