"""Preparing packed datasets: nothing made is lost to a kill or a damaged file, and everything is checked."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tessera.data import packing
from tessera.data.datasets.options.image_folder import ImageFolderOptions
from tessera.data.decode import Encoded
from tessera.data.prepare import prepare_dataset
from tessera.data.store import load_dataset
from tessera.errors import DataError
from tessera.files import draft_of

SHARD_BYTES = 3000  # three or four of these images


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """24 training and 4 test images in two classes."""
    random = np.random.default_rng(0)
    for split, number in (("train", 12), ("test", 2)):
        for label in "ab":
            (tmp_path / "tree" / split / label).mkdir(parents=True)
            for i in range(number):
                pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "tree" / split / label / f"{i:02}.jpg", "jpeg", quality=80)
    return tmp_path / "tree"


@pytest.fixture
def prepare(tree: Path, tmp_path: Path) -> Callable[..., dict[str, float]]:
    def run(output: str = "output", state: str = "state", **options: Any) -> dict[str, float]:
        folder = tmp_path / output
        folder.mkdir()
        made = ImageFolderOptions(path="tree", **{"image_size": 16, "packed": True, **options})
        return prepare_dataset(made, tmp_path, folder, tmp_path / state, SHARD_BYTES)

    return run


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that are read and decoded at preparation."""
    names: list[str] = []

    def check(encoded: Encoded, check: Callable[[Encoded], bytes] = packing.check_image) -> bytes:
        names.append(encoded.name)
        return check(encoded)

    monkeypatch.setattr(packing, "check_image", check)
    return names


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".npz"}


def test_what_is_made(prepare: Callable[..., dict[str, float]], tmp_path: Path, tree: Path) -> None:
    metrics = prepare()
    assert metrics == {
        "num_train": 24, "num_test": 4, "num_unlabeled": 0, "num_classes": 2, "image_size": 16, "num_skipped": 0,
    }  # fmt: skip
    folder = tmp_path / "output"
    index = np.load(folder / "index.npy")
    shards = sorted(folder.glob("images-*.bin"))
    assert len(index) == 28
    assert len(shards) == index["shard"].max() + 1 > 4
    assert all(0 < shard.stat().st_size <= SHARD_BYTES for shard in shards)
    assert {path.name for path in folder.iterdir()} == {shard.name for shard in shards} | {
        "index.npy", "names.txt", "labels.npy", "splits.npz", "dataset.json",
    }  # fmt: skip
    assert json.loads((folder / "dataset.json").read_text())["format"] == "packed"
    names = [str(path.relative_to(tree)) for path in sorted(tree.rglob("*.jpg"))]
    assert (folder / "names.txt").read_text().splitlines() == names


def test_a_killed_preparation_goes_on(
    prepare: Callable[..., dict[str, float]], checked: list[str], tmp_path: Path, tree: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    prepare("uninterrupted", "other")
    everything = list(checked)
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(packing, "_check", lambda chunk, check=packing._check: kill_at("b/03", chunk, check))
        monkeypatch.setattr(packing, "CHUNK", 1)
        prepare("killed")
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    complete = sorted((tmp_path / "state").glob("*.json"))
    assert len(complete) >= 3
    assert list((tmp_path / "state").glob("*.draft"))
    before = {path.name: path.stat().st_ino for path in (tmp_path / "state").glob("*.bin")}

    checked.clear()
    with caplog.at_level(logging.INFO, "tessera"):
        prepare()
    kept = json.loads(complete[-1].read_text())["stop"]
    assert f"going on after {len(complete)} shards, {kept} images" in caplog.text
    assert checked == everything[kept:]  # what was complete is not read again
    assert contents(tmp_path / "output") == contents(tmp_path / "uninterrupted")
    assert all((tmp_path / "output" / name).stat().st_ino == inode for name, inode in before.items())


def kill_at(name: str, chunk: list[Encoded], check: Callable[[list[Encoded]], Any]) -> Any:
    if name in chunk[0].name:
        os.kill(os.getpid(), signal.SIGKILL)
    return check(chunk)


def test_shards_outlive_a_kill_before_they_are_published(
    prepare: Callable[..., dict[str, float]], checked: list[str], tmp_path: Path
) -> None:
    prepare()
    (tmp_path / "output").rename(tmp_path / "lost")  # what a stage does with an unfinished output
    checked.clear()
    prepare()
    assert not checked
    assert contents(tmp_path / "output") == contents(tmp_path / "lost")


@pytest.mark.parametrize("suffix", [".bin", ".npy", ".txt", ".json"])
def test_a_damaged_shard_of_an_earlier_run_is_made_again(
    prepare: Callable[..., dict[str, float]], checked: list[str], tmp_path: Path, suffix: str
) -> None:
    prepare("uninterrupted")
    everything = list(checked)
    path = tmp_path / "state" / f"images-00002{suffix}"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.unlink()
    path.write_bytes(data)
    start = json.loads((tmp_path / "state" / "images-00001.json").read_text())["stop"]
    expected = contents(tmp_path / "uninterrupted")
    checked.clear()
    prepare()
    assert checked == everything[start:]
    assert contents(tmp_path / "output") == expected


def test_a_damaged_file_is_named_and_nothing_is_lost(
    prepare: Callable[..., dict[str, float]], checked: list[str], tmp_path: Path, tree: Path
) -> None:
    prepare("uninterrupted", "other")
    everything = list(checked)
    file = tree / "train/b/05.jpg"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError) as raised:
        prepare("refused")
    row = everything.index(str(file))
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"{file}: cannot be decoded (")
    assert str(raised.value).endswith(
        f"Remove or replace it. The next run goes on after the {row} images that are packed. "
        "Or set `damaged: skip`, without `strict`: it passes such files over, and starts anew."
    )
    file.write_bytes(whole)
    checked.clear()
    prepare()
    assert checked == everything[row:]
    assert contents(tmp_path / "output") == contents(tmp_path / "uninterrupted")


def test_after_a_damaged_file_was_removed(
    prepare: Callable[..., dict[str, float]], checked: list[str], tmp_path: Path, tree: Path
) -> None:
    file = tree / "train/b/05.jpg"
    file.write_bytes(b"")
    with pytest.raises(DataError, match=r"05\.jpg: cannot be decoded \(empty file\)"):
        prepare("refused")
    file.unlink()
    number = len(checked)
    prepare()
    assert number < len(checked) < number + 14
    prepare("uninterrupted", "other")
    assert contents(tmp_path / "output") == contents(tmp_path / "uninterrupted")


def test_data_that_changed_are_packed_anew(
    prepare: Callable[..., dict[str, float]], checked: list[str], tmp_path: Path, tree: Path
) -> None:
    prepare("first")
    (tree / "test/a/00.jpg").rename(tree / "test/a/zz.jpg")
    checked.clear()
    prepare()
    assert len(checked) == 28
    prepare("uninterrupted", "other")
    assert contents(tmp_path / "output") == contents(tmp_path / "uninterrupted")


def test_damaged_files_can_be_passed_over(
    prepare: Callable[..., dict[str, float]], tmp_path: Path, tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare("whole", "other")
    file = tree / "train/a/07.jpg"
    file.write_bytes(b"not an image")
    metrics = prepare(damaged="skip")
    assert (metrics["num_train"], metrics["num_test"], metrics["num_skipped"]) == (23, 4, 1)
    assert f"passed over {file}: cannot be decoded (no image of a known kind)" in caplog.text
    some, every = (load_dataset(tmp_path / name, torch.device("cpu")) for name in ("output", "whole"))
    rest = torch.tensor([row for row in range(24) if row != 7])
    assert torch.equal(some.train.images[:], every.train.images[rest])
    assert torch.equal(some.train.labels, every.train.labels[rest])
    assert torch.equal(some.test.images[:], every.test.images[:])

    (tree / "train/b/07.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"b/07.jpg: .* passes over one image in a hundred at most, but 2 of 28"):
        prepare("more", "another", damaged="skip")


def test_a_large_image_has_a_shard_of_its_own(
    prepare: Callable[..., dict[str, float]], tmp_path: Path, tree: Path
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tree / "train/a/05.jpg", "jpeg")
    prepare()
    shards = sorted((tmp_path / "output").glob("*.bin"), key=lambda path: path.stat().st_size)
    assert shards[-1].read_bytes() == (tree / "train/a/05.jpg").read_bytes()
    assert shards[-2].stat().st_size <= SHARD_BYTES


def test_without_second_names_the_shards_are_moved(
    prepare: Callable[..., dict[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare("linked", "other")

    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    prepare()
    assert not list((tmp_path / "state").glob("*.bin"))
    assert contents(tmp_path / "output") == contents(tmp_path / "linked")


def test_progress_is_shown(
    prepare: Callable[..., dict[str, float]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(packing, "REPORT_S", 0.0)
    with caplog.at_level(logging.INFO, "tessera"):
        prepare()
    lines = [record.getMessage() for record in caplog.records if "images packed" in record.getMessage()]
    assert [line.split(" images")[0] for line in lines] == [f"tree: {done}/28" for done in (8, 16, 24, 28)]
    assert all("images/s" in line and "remaining" in line for line in lines)


def test_mean_and_deviation_are_of_evenly_spaced_training_images(
    prepare: Callable[..., dict[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tessera.data.store.SAMPLED_IMAGES", 5)
    prepare()
    dataset = load_dataset(tmp_path / "output", torch.device("cpu"))
    pixels = dataset.train.images[torch.tensor([0, 6, 12, 17, 23])].double() / 255
    assert dataset.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert dataset.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-12)


def test_what_does_not_fit_is_told_before_any_work(
    prepare: Callable[..., dict[str, float]], checked: list[str], tree: Path
) -> None:
    (tree / "train/c").mkdir()
    with pytest.raises(DataError, match="class `c` has no images"):
        prepare()
    assert not checked


def test_what_a_killed_process_left_half_written_goes(prepare: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    draft = draft_of(tmp_path / "state" / "images-00000.json")
    draft = draft.with_name(draft.name.replace(f".{os.getpid()}.", f".{ended.pid}."))
    draft.parent.mkdir()
    draft.write_text("{")
    prepare()
    assert not draft.exists()
