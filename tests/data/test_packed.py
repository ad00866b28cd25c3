"""Packed images: the same pixels as unpacked ones, read piece by piece, and damage that is told."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tessera.data import packed
from tessera.data.datasets.options.image_folder import ImageFolderOptions
from tessera.data.images import concatenate, image_batches, in_slices
from tessera.data.packed import PackedImages, Shards, fit
from tessera.data.prepare import prepare_dataset
from tessera.data.store import Dataset, load_dataset
from tessera.errors import ArtifactError

CPU = torch.device("cpu")


def photograph(seed: int, height: int, width: int) -> Image.Image:
    grid = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)


def fill(root: Path, number: int = 24) -> None:
    """A tree of two classes with images of many sizes and kinds."""
    for seed in range(number):
        image = photograph(seed, 20 + 3 * (seed % 7), 24 + 5 * (seed % 5))
        file = root / ("val" if seed % 4 > 1 and seed > 11 else "train") / "ab"[seed % 2] / f"{seed:02}.JPEG"
        file.parent.mkdir(parents=True, exist_ok=True)
        match seed:
            case 4:
                image.save(file, "png")  # as one image of ImageNet's is
            case 5:
                image.convert("CMYK").save(file, "jpeg")
            case 6:
                image.convert("L").save(file, "jpeg")
            case 7:
                image.resize((300, 400)).save(file, "jpeg")
            case _:
                image.save(file, "jpeg", quality=90)


def prepared(root: Path, folder: Path, shard_bytes: int = 5000, **options: Any) -> Dataset:
    folder.mkdir()
    made = ImageFolderOptions(path=root.name, test="val", **{"image_size": 16, **options})
    prepare_dataset(made, root.parent, folder, shard_bytes=shard_bytes)
    return load_dataset(folder, CPU)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree, and two datasets of it: packed and array."""
    root = tmp_path_factory.mktemp("made")
    fill(root / "tree")
    prepared(root / "tree", root / "packed", packed=True)
    prepared(root / "tree", root / "array")
    return root


@pytest.fixture
def both(made: Path, tmp_path: Path) -> tuple[Dataset, Dataset]:
    """The same tree, packed and as an array."""
    folder = tmp_path / "packed"
    shutil.copytree(made / "packed", folder)
    return load_dataset(folder, CPU), load_dataset(made / "array", CPU)


def images_of(dataset: Dataset, split: str = "train") -> PackedImages:
    images = dataset.splits[split].images
    assert isinstance(images, PackedImages)
    return images


def same(one: Dataset, other: Dataset) -> None:
    assert one.classes == other.classes
    assert one.mean == pytest.approx(other.mean, abs=1e-12)
    assert one.std == pytest.approx(other.std, abs=1e-12)
    for name in ("train", "test"):
        assert torch.equal(one.splits[name].images[:], other.splits[name].images[:])
        assert torch.equal(one.splits[name].labels, other.splits[name].labels)


def test_packed_and_unpacked_are_the_same(both: tuple[Dataset, Dataset]) -> None:
    same(*both)
    assert len(list(images_of(both[0]).shards.folder.glob("images-*.bin"))) > 2
    assert not (images_of(both[0]).shards.folder / "shards").exists()


@pytest.mark.parametrize("suffix", [".tar", ".tar.xz", ".zip"])
@pytest.mark.parametrize("options", [{}, {"classes": ["b"]}, {"train_fraction": 0.5}])
def test_an_archive_is_packed_as_its_tree(
    tmp_path: Path, pack: Callable[[Path, str], Path], suffix: str, options: dict[str, Any]
) -> None:
    fill(tmp_path / "tree")
    archive = pack(tmp_path / "tree", suffix)
    same(
        prepared(archive, tmp_path / "packed", packed=True, **options),
        prepared(tmp_path / "tree", tmp_path / "array", **options),
    )


def test_it_is_indexed_as_a_tensor_is(both: tuple[Dataset, Dataset]) -> None:
    images, plain = images_of(both[0]), both[1].train.images
    assert (images.shape, len(images), images.device, images.dtype) == (plain.shape, len(plain), CPU, torch.uint8)
    index = torch.tensor([7, 0, 7, 3])
    for chosen in (index, slice(2, 5), slice(None), slice(16, 99), index[:0]):
        assert torch.equal(images[chosen], plain[chosen])
        assert images[chosen].dtype == torch.uint8
        assert images[chosen].is_contiguous()
    assert images.to(CPU).shards is images.shards
    with pytest.raises(ValueError, match="dimension 0"):
        images.index_select(1, index)


def test_choosing_decodes_nothing(both: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, plain = both
    with monkeypatch.context() as patched:
        patched.setattr(packed, "decode_image", lambda *_: pytest.fail("decoded"))
        some = dataset.train.subset(torch.tensor([9, 2, 4])).subset(torch.tensor([2, 0]))
        joined = concatenate([dataset.train.images, dataset.test.images])
    assert torch.equal(some.images[:], plain.train.images[torch.tensor([4, 9])])
    assert torch.equal(some.labels, plain.train.labels[[4, 9]])
    assert torch.equal(joined[:], torch.cat([plain.train.images[:], plain.test.images[:]]))
    assert isinstance(concatenate([plain.train.images, plain.test.images]), Tensor)


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_come_in_order_and_are_those_of_a_tensor(both: tuple[Dataset, Dataset], threads: int) -> None:
    torch.set_num_threads(threads)
    index = torch.randint(18, (7, 10))
    batches = list(image_batches(both[0].train.images, index))
    assert [len(batch) for batch in batches] == [10] * 7
    for batch, rows in zip(batches, index, strict=True):
        assert torch.equal(batch, both[1].train.images[rows])
    for one, other in zip(image_batches(both[1].train.images, index), batches, strict=True):
        assert torch.equal(one, other)
    sizes = [len(part) for part in in_slices(both[0].train.images, 5)]
    assert sizes == [5, 5, 5, 3] == [len(part) for part in in_slices(both[1].train.images, 5)]
    assert [part.shape for part in in_slices(torch.zeros(0, 4), 5)] == [(0, 4)]


def test_batches_are_decoded_ahead_but_not_far(both: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    monkeypatch.setattr(Shards, "read", lambda self, row, read=Shards.read: decoded.append(row) or read(self, row))
    given = []

    def index() -> Any:
        for start in range(18):
            given.append(start)
            yield slice(start, start + 1)

    batches = image_batches(both[0].train.images, index())
    next(batches)
    assert given == list(range(packed.AHEAD + 1))
    while len(decoded) < packed.AHEAD + 1:  # without anybody asking
        pass
    batches.close()  # type: ignore[attr-defined]
    assert len(decoded) == packed.AHEAD + 1


def test_the_middle_of_a_picture_on_any_device() -> None:
    for height, width in [(16, 16), (33, 47), (50, 31)]:
        image = photograph(1, height, width)
        side, box = min(height, width), ((width - min(height, width)) // 2, (height - min(height, width)) // 2)
        square = image.crop((*box, box[0] + side, box[1] + side)).resize((16, 16), Image.Resampling.BILINEAR)
        found = fit(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1), 16)
        assert (found.permute(1, 2, 0).int() - torch.from_numpy(np.asarray(square).copy()).int()).abs().max() <= 1


def row_in_the_middle(shards: Shards) -> int:
    """An image with others of its shard before and behind it."""
    own = np.flatnonzero(shards.index["shard"] == 1)
    assert len(own) > 2
    return int(own[1])


@pytest.mark.parametrize("damage", ["a byte", "zeros"])
def test_a_damaged_image_in_the_middle_of_a_shard_is_named(both: tuple[Dataset, Dataset], damage: str) -> None:
    images = images_of(both[0])
    shards = images.shards
    row, folder = row_in_the_middle(shards), shards.folder
    entry = shards.index[row]
    start, end = int(entry["offset"]), int(entry["offset"] + entry["length"])
    path = folder / "images-00001.bin"
    data = bytearray(path.read_bytes())
    if damage == "a byte":
        data[(start + end) // 2] ^= 1
    else:
        data[start:end] = bytes(end - start)
    path.write_bytes(data)
    every = PackedImages(shards, torch.arange(len(shards)), 16, CPU)
    with pytest.raises(ArtifactError) as raised:
        every[:]
    name = shards.name(row)
    assert name.endswith(".JPEG")
    assert name.startswith(("train/", "val/"))
    assert str(raised.value) == (
        f"{path}: image `{name}` (bytes {start} to {end}) does not match its checksum (damaged?). "
        f"Delete the folder {folder}, or move it aside; the next run makes it again."
    )
    others = torch.tensor([other for other in range(len(shards)) if other != row])
    assert len(every[others]) == len(shards) - 1  # the others of the shard are still read


def test_names_are_those_of_the_files(both: tuple[Dataset, Dataset], made: Path) -> None:
    shards = images_of(both[0]).shards
    for row in range(len(shards)):
        assert shards.read(row) == (made / "tree" / shards.name(row)).read_bytes()


@pytest.mark.parametrize("name", ["dataset.json", "index.npy", "labels.npy", "splits.npz", "images-00001.bin"])
@pytest.mark.parametrize("damage", ["absent", "cut off"])
def test_a_damaged_artifact_is_told(both: tuple[Dataset, Dataset], name: str, damage: str) -> None:
    folder = images_of(both[0]).shards.folder
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if damage == "cut off":
        (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(
        ArtifactError,
        match=r"packed.*(not a readable dataset|has \d+ bytes of \d+).*(it is made again|makes it again)\.$",
    ):
        load_dataset(folder, CPU)


def test_few_files_are_open(both: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "OPEN_FILES", 2)
    images = images_of(both[0])
    before = len(os.listdir("/proc/self/fd"))
    assert images.shards.index["shard"].max() > 3
    assert len(images[:]) == 18
    assert len(os.listdir("/proc/self/fd")) <= before + 3


def test_threads_share_the_shards(both: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "OPEN_FILES", 1)
    images, plain, wrong = images_of(both[0]), both[1].train.images[:], []

    def read() -> None:
        for _ in range(5):
            order = torch.randperm(18)
            if not torch.equal(images[order], plain[order]):
                wrong.append(1)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_forked_process_decodes(both: tuple[Dataset, Dataset]) -> None:
    images, expected = images_of(both[0]), both[1].train.images[:]
    assert torch.equal(images[:], expected)  # the parent's threads run by now; a child has none
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(images[:], expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_gpu_decodes_nearly_the_same(both: tuple[Dataset, Dataset]) -> None:
    images = images_of(both[0]).to(torch.device("cuda"))
    index = torch.randint(18, (5, 12))
    for batch, rows in zip(image_batches(images, index), index, strict=True):
        assert batch.device.type == "cuda"
        assert (batch.cpu().int() - both[1].train.images[rows].int()).abs().float().mean() < 4
