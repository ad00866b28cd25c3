"""UTKFace from stand-ins of coloured noise, and its counts where the archive is at hand. No picture is kept."""

import json
import logging
import os
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from faces import DATE, everybody, noise, write_faces
from tessera.data.datasets.base import RawDataset
from tessera.data.datasets.options.image_folder import ImageFolderOptions
from tessera.data.datasets.options.utkface import AGES, ETHNICITIES, GENDERS, Face, UtkfaceOptions, read_name
from tessera.data.datasets.options.voc import VocFolderOptions
from tessera.data.datasets.utkface import Utkface
from tessera.data.prepare import prepare_dataset
from tessera.data.store import load_dataset
from tessera.errors import DataError

CPU = torch.device("cpu")
TAIL = "20170109150557335.jpg.chip.jpg"


def read(root: Path, path: str = "UTKFace", **options: object) -> RawDataset:
    found = Utkface(UtkfaceOptions.model_validate({"path": path, "image_size": 16, **options})).read_within(root)
    assert isinstance(found, RawDataset)
    return found


def shared(raw: RawDataset) -> set[bytes]:
    """Pictures, pixel by pixel, on both sides of the split."""
    train, test = ({raw.images[row].tobytes() for row in raw.splits[split]} for split in ("train", "test"))
    return train & test


@pytest.mark.parametrize(
    ("name", "face"),
    [
        (f"0_0_0_{TAIL}", Face(0, 0, 0)),
        (f"9_1_4_{TAIL}", Face(0, 1, 4)),
        (f"10_0_1_{TAIL}", Face(1, 0, 1)),
        (f"59_0_2_{TAIL}", Face(5, 0, 2)),
        (f"60_1_3_{TAIL}", Face(6, 1, 3)),
        (f"116_1_0_{TAIL}", Face(6, 1, 0)),
        ("26_0_1_20170109150557335.jpg", Face(2, 0, 1)),
        ("26_0_1_20170109150557335.JPG", Face(2, 0, 1)),
    ],
)
def test_a_name_says_age_gender_and_ethnicity(name: str, face: Face) -> None:
    assert read_name(name) == face


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (f"39_1_{TAIL}", "not named"),
        ("24_0_1_20170109150557335 .jpg.chip.jpg", "not named"),
        ("55_0_0_20170109150557335jpg.chip.jpg", "not named"),
        (f"-1_0_0_{TAIL}", "not named"),
        (f"²_0_0_{TAIL}", "not named"),
        ("9" * 5000 + f"_0_0_{TAIL}", "not named"),  # in an archive; Python reads no such number
        (f"117_0_0_{TAIL}", "age 117, and the most is 116"),
        (f"20_2_0_{TAIL}", "gender 2, and the most is 1"),
        (f"20_1_5_{TAIL}", "race 5, and the most is 4"),
    ],
)
def test_other_names_are_passed_over_with_a_reason(name: str, why: str) -> None:
    found = read_name(name)
    assert isinstance(found, str)
    assert why in found


def test_columns_are_read_and_the_rest_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_faces(tmp_path / "UTKFace", everybody(5))
    odd = [f"39_1_{TAIL}", f"200_0_0_{TAIL}", "readme.txt"]
    for name in odd:
        (folder / name).write_bytes(noise(1))
    kept = tmp_path / "kept"
    kept.mkdir()
    options = UtkfaceOptions(image_size=16)
    with caplog.at_level(logging.WARNING):
        figures = prepare_dataset(options, tmp_path, kept)
    assert (figures["num_train"], figures["num_test"], figures["num_skipped"]) == (28, 7, 3)
    assert all(any(name in line for line in caplog.messages) for name in odd)
    dataset = load_dataset(kept, CPU)
    assert set(dataset.columns) == set(options.label_columns()) == {"class", "age", "gender", "ethnicity"}
    assert dataset.columns["age"].classes == dataset.classes == AGES
    assert (dataset.columns["gender"].classes, dataset.columns["ethnicity"].classes) == (GENDERS, ETHNICITIES)
    assert torch.equal(dataset.train.labels, dataset.train.columns["age"])
    who = sorted(zip(*(dataset.train.columns[name].tolist() + dataset.test.columns[name].tolist()
                       for name in ("age", "gender", "ethnicity")), strict=True))  # fmt: skip
    assert who == sorted((age // 10, gender, race) for age, gender, race in everybody(5))
    assert torch.bincount(dataset.test.labels).tolist() == [1] * 7  # of each age a fifth
    assert dataset.shows_people
    assert json.loads((kept / "dataset.json").read_text())["shows_people"] is True


def test_one_picture_under_several_names_lies_on_one_side(tmp_path: Path) -> None:
    folder = write_faces(tmp_path / "UTKFace", everybody(6))
    alike = list(range(12, 24))
    for seed in alike:  # under another name, which tells another age
        (folder / f"70_0_0_{DATE + 100 + seed}.jpg").write_bytes(noise(seed))
    for seed in range(5):
        raw = read(tmp_path, test_fraction=0.4, seed=seed)
        assert len(np.unique([image.tobytes() for image in raw.images])) == len(raw.images) - len(alike)
        assert not shared(raw)
        rows = np.concatenate([raw.splits["train"], raw.splits["test"]])
        assert sorted(rows.tolist()) == list(range(len(raw.images)))


def test_what_becomes_equal_when_it_is_made_smaller_lies_on_one_side(tmp_path: Path) -> None:
    """The grouping is of the pixels that are learned from."""
    folder = write_faces(tmp_path / "UTKFace", everybody(4), side=32)
    for number, path in enumerate(sorted(folder.iterdir())):
        with Image.open(path) as picture:
            pixels = np.array(picture)
        path.unlink()
        Image.fromarray(pixels).save(path.with_name(path.name.replace(".jpg", ".png")))
        pixels[0, 0] ^= 1  # another picture, until it is made smaller
        Image.fromarray(pixels).save(path.with_name(f"30_0_0_{DATE + 500 + number}.png"))
    large, small = (read(tmp_path, image_size=size, test_fraction=0.5) for size in (32, 8))
    assert len(np.unique([image.tobytes() for image in large.images])) == 56
    assert len(np.unique([image.tobytes() for image in small.images])) < 35  # a few are on the edge of rounding
    assert not shared(small)


def test_a_folder_and_an_archive_of_it_are_one_dataset(tmp_path: Path) -> None:
    folder = write_faces(tmp_path / "UTKFace", everybody(3))
    with tarfile.open(tmp_path / "faces.tar.xz", "w:xz") as archive:
        for path in sorted(folder.iterdir(), reverse=True):
            archive.add(path, f"deep/down/{path.name}")
    tree, packed = read(tmp_path), read(tmp_path, "faces.tar.xz")
    for split in ("train", "test"):
        assert np.array_equal(tree.images[tree.splits[split]], packed.images[packed.splits[split]])
        for name in ("age", "gender", "ethnicity"):
            of_tree, of_packed = tree.columns[name].labels, packed.columns[name].labels
            assert np.array_equal(of_tree[tree.splits[split]], of_packed[packed.splits[split]])
    assert not np.array_equal(tree.splits["test"], read(tmp_path, seed=1).splits["test"])


def test_a_name_that_comes_twice_counts_once(tmp_path: Path) -> None:
    folder = write_faces(tmp_path / "UTKFace", everybody(3))
    again = next(iter(sorted(folder.iterdir()))).name
    (folder / "part2").mkdir()
    (folder / "part2" / again).write_bytes(noise(99))
    raw = read(tmp_path)
    assert sum(len(rows) for rows in raw.splits.values()) == 21
    assert [line.endswith(f"UTKFace/{again}: another file has its name") for line in raw.skipped] == [True]


def test_what_is_not_there_is_said_with_what_to_do(tmp_path: Path) -> None:
    line = UtkfaceOptions().missing(tmp_path)
    assert line is not None
    assert "\n" not in line
    for word in ("no `UTKFace`", "non-commercial research purposes only", "https://", "`path`"):
        assert word in line
    (tmp_path / "utkface.tar.xz").write_bytes(b"no archive")
    assert "Did you mean `utkface.tar.xz`?" in str(UtkfaceOptions().missing(tmp_path))
    assert "damaged" in str(UtkfaceOptions(path="utkface.tar.xz").missing(tmp_path))
    (tmp_path / "UTKFace").mkdir()
    (tmp_path / "UTKFace" / "cat.jpg").write_bytes(noise(0))
    assert "holds no image named `<age>_<gender>_<race>_<date>.jpg`" in str(UtkfaceOptions().missing(tmp_path))
    with pytest.raises(DataError, match="holds no image named"):
        read(tmp_path)
    write_faces(tmp_path / "UTKFace", everybody(1))
    assert UtkfaceOptions().missing(tmp_path) is None


def test_a_folder_of_ones_own_may_say_that_it_shows_people() -> None:
    assert not ImageFolderOptions(path="a", image_size=8).has_people()
    assert ImageFolderOptions(path="a", image_size=8, shows_people=True).has_people()
    assert VocFolderOptions(path="a", shows_people=True).has_people()


@pytest.mark.slow
def test_counts_of_the_real_faces() -> None:
    """Numbers alone: of what is read here, no pixel is written anywhere."""
    root = Path(os.environ.get("TESSERA_DATA", "."))
    if not (root / "utkface.tar.xz").exists():
        pytest.skip("TESSERA_DATA names no folder with utkface.tar.xz")
    raw = read(root, "utkface.tar.xz", image_size=64)
    assert (len(raw.images), len(raw.skipped)) == (23_703, 5)
    counts = {name: np.bincount(column.labels).tolist() for name, column in raw.columns.items()}
    assert counts == {
        "age": [3062, 1531, 7343, 4536, 2245, 2298, 2688],
        "gender": [12_389, 11_314],
        "ethnicity": [10_077, 4525, 3434, 3975, 1692],
    }
    several = [number for number in Counter(hash(image.tobytes()) for image in raw.images).values() if number > 1]
    assert (len(several), sum(several)) == (345, 702)
    assert not shared(raw)
    shares = np.bincount(raw.labels[raw.splits["test"]]) / counts["age"]
    assert shares == pytest.approx([0.2] * 7, abs=0.005)


def test_within_the_training_faces_no_test_face_is_read(tmp_path: Path) -> None:
    write_faces(tmp_path / "UTKFace", everybody(20))
    whole, within = read(tmp_path), read(tmp_path, within="train")
    train = set(whole.splits["train"].tolist())
    chosen, measured = (set(within.splits[split].tolist()) for split in ("train", "test"))
    assert chosen | measured == train
    assert not chosen & measured
    assert len(measured) == pytest.approx(0.2 * len(train), abs=2)
    assert not shared(within)
