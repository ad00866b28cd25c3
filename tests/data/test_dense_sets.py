"""NYUv2 and CityScapes from made trees in their forms, and the few real images of NYUv2 where they are at hand."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tessera.data.columns import NO_CLASS
from tessera.data.datasets.base import RawDataset
from tessera.data.datasets.cityscapes import BASELINE, FOCAL_LENGTH, Cityscapes, segmentation
from tessera.data.datasets.dense import Nyuv2
from tessera.data.datasets.dense_maps import DistanceForm
from tessera.data.datasets.options.dense import NYUV2_CLASSES, CityscapesOptions, Nyuv2Options
from tessera.errors import DataError

HEIGHT, WIDTH = 8, 16
RANDOM = np.random.default_rng(0)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        Image.fromarray(array).save(path)


def test_nyuv2_as_arrays(tmp_path: Path) -> None:
    label = RANDOM.integers(-1, 13, (3, HEIGHT, WIDTH))
    depth, image = RANDOM.uniform(0.5, 9, (3, HEIGHT, WIDTH, 1)), RANDOM.random((3, HEIGHT, WIDTH, 3))
    normal = RANDOM.standard_normal((3, HEIGHT, WIDTH, 3))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    depth[0, 0, 0], normal[0, 0, 0] = 0, 0
    for number in range(3):
        split = "val" if number == 2 else "train"
        for folder, of in {"image": image, "label": label, "depth": depth, "normal": normal}.items():
            save(tmp_path / f"nyuv2/{split}/{folder}/{number % 2}.npy", of[number])
    options = Nyuv2Options.model_validate({"image_size": {"height": HEIGHT, "width": WIDTH}})
    assert options.missing(tmp_path) is None
    raw = Nyuv2(options).read(tmp_path)
    assert {split: rows.tolist() for split, rows in raw.splits.items()} == {"train": [0, 1], "test": [2]}
    assert {name: of.kind for name, of in raw.columns.items()} == options.label_columns()
    assert raw.columns["segmentation"].classes == list(NYUV2_CLASSES)
    assert np.array_equal(raw.columns["segmentation"].labels, np.where(label < 0, NO_CLASS, label))
    assert np.abs(raw.columns["depth"].labels - depth[..., 0]).max() < 0.005
    assert np.abs(raw.columns["normals"].labels - normal).max() < 0.001
    assert np.abs(raw.images / 255 - image).max() <= 0.5 / 255 + 1e-9
    save(tmp_path / "nyuv2/train/label/0.npy", np.full((HEIGHT, WIDTH), 13.0))
    with pytest.raises(DataError, match=r"train/label/0.npy: class 13, but there are 13, of values 0 to 12"):
        Nyuv2(options).read(tmp_path)


def test_what_is_not_there_is_said_with_where_to_get_it(tmp_path: Path) -> None:
    for options, words in ((Nyuv2Options(), "{image,label,depth,normal}"), (CityscapesOptions(), "gtFine")):
        line = options.missing(tmp_path) or ""
        assert "\n" not in line
        assert f"no `{options.name}` under data_root" in line
        assert "https://" in line
        assert words in line


def real() -> Path:
    root = Path(os.environ.get("TESSERA_DATA", "."))
    if not (root / "nyuv2mini.tar.xz").exists():
        pytest.skip("TESSERA_DATA names no folder with nyuv2mini.tar.xz")
    return root


def nyuv2mini(maps: tuple[str, ...], height: int, width: int) -> RawDataset:
    return Nyuv2(
        Nyuv2Options.model_validate(
            {"path": "nyuv2mini.tar.xz", "files": "png", "maps": maps, "image_size": {"height": height, "width": width}}
        )
    ).read(real())


def test_nyuv2_as_pictures() -> None:
    raw = nyuv2mini(("depth", "normals"), 60, 80)
    assert {split: len(rows) for split, rows in raw.splits.items()} == {"train": 10, "test": 8}
    depth = raw.columns["depth"].labels
    assert 0.5 < depth.min() < depth.max() < 10
    with pytest.raises(DataError, match=r"no maps of `segmentation` .*Complete it, or leave the column"):
        nyuv2mini(("segmentation",), 60, 80)


CITY = "aachen_000000_000019"


def write_city(root: Path, split: str, number: int, ids: np.ndarray, disparity: np.ndarray, uids: np.ndarray) -> None:
    name = f"aachen/aachen_{number:06d}_000019"
    image = RANDOM.integers(256, size=(*ids.shape, 3), dtype=np.uint8)
    save(root / f"leftImg8bit/{split}/{name}_leftImg8bit.png", image)
    save(root / f"gtFine/{split}/{name}_gtFine_labelIds.png", ids)
    save(root / f"gtFine/{split}/{name}_gtFine_color.png", image)
    save(root / f"disparity/{split}/{name}_disparity.png", disparity)
    save(root / f"gtFinePanopticParts/{split}/{name}_gtFinePanopticParts.tif", uids)


@pytest.fixture
def city(tmp_path: Path) -> dict[str, np.ndarray]:
    """Two images, one for training; every id, disparities, parts."""
    ids = np.tile(np.arange(34, dtype=np.uint8).repeat(4)[:128].reshape(8, 16), (2, 2))
    ids[0, 0] = 255  # the license plate's -1 in 8 bits
    disparity = RANDOM.integers(2, 30_000, ids.shape).astype(np.uint16)
    disparity[0, :4] = [0, 1, 257, 513]
    uids = np.zeros(ids.shape, dtype=np.int32)
    uids[0, :8] = [24, 24_003, 2_400_302, 2_500_104, 2_600_001, 2_801_205, 3_300_101, 2_400_300]
    for split, number in (("train", 0), ("val", 1)):
        write_city(tmp_path / "cityscapes", split, number, ids, disparity, uids)
    return {"ids": ids, "disparity": disparity, "uids": uids}


def cityscapes(root: Path, height: int = 16, width: int = 32, **changes: Any) -> RawDataset:
    size = {"height": height, "width": width}
    options = CityscapesOptions.model_validate({"image_size": size, **changes})
    assert options.missing(root) is None
    raw = Cityscapes(options).read(root)
    assert {name: of.kind for name, of in raw.columns.items()} == options.label_columns()
    return raw


def test_cityscapes_at_its_own_size(tmp_path: Path, city: dict[str, np.ndarray]) -> None:
    raw = cityscapes(tmp_path, maps=["segmentation", "parts", "disparity", "inverse_depth"])
    assert {split: rows.tolist() for split, rows in raw.splits.items()} == {"train": [0], "test": [1]}
    evaluated = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    ids, labels = city["ids"], raw.columns["segmentation"].labels[0]
    for value in (*range(34), 255):
        wanted = evaluated.index(value) if value in evaluated else NO_CLASS
        assert (labels[ids == value] == wanted).all(), value
    # none; a person as a whole; its head; a rider's leg; a car's window; a bus's chassis; a bicycle's; without a part
    assert raw.columns["parts"].labels[0, 0, :8].tolist() == [0, 0, 2, 4, 5, 9, 0, 0]
    disparity = raw.columns["disparity"].labels[0]
    assert disparity[0, :4].tolist() == [0, 0, 1, 2]
    assert np.allclose(disparity, np.maximum(city["disparity"].astype(float) - 1, 0) / 256, rtol=1e-3)
    metres = 1 / raw.columns["inverse_depth"].labels[0, 0, 3].astype(float)
    assert metres == pytest.approx(BASELINE * FOCAL_LENGTH / 2, rel=1e-3)


def test_disparity_counts_pixels_of_the_prepared_image(tmp_path: Path, city: dict[str, np.ndarray]) -> None:
    whole = cityscapes(tmp_path, maps=["disparity", "inverse_depth"])
    half = cityscapes(tmp_path, 8, 16, maps=["disparity", "inverse_depth"])
    for name, factor in (("disparity", 0.5), ("inverse_depth", 1)):
        of = whole.columns[name].labels[0, 1::2, 1::2].astype(float)
        assert np.allclose(half.columns[name].labels[0], factor * of, rtol=1e-3)


def test_groups_of_classes() -> None:
    """As cityscapesScripts has the categories, but for what its evaluation ignores."""
    ids = np.array([[7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 0, 4, 9, 255]])
    seven = segmentation(7)
    assert seven.classes == ["flat", "construction", "object", "nature", "sky", "human", "vehicle"]
    assert seven.labels(ids, ids.shape)[0].tolist() == (
        [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 5] + [6] * 8 + [NO_CLASS] * 4
    )
    two = segmentation(2)
    assert two.classes == ["background", "foreground"]
    assert two.labels(ids, ids.shape)[0].tolist() == [0] * 11 + [1] * 10 + [0] * 4
    with pytest.raises(DataError, match="class 34, but there are 19, of values 7 to 33"):
        segmentation(19).labels(np.array([[34]]), (1, 1))


def test_a_tree_of_cityscapes_without_a_package(tmp_path: Path, city: dict[str, np.ndarray]) -> None:
    for path in (tmp_path / "cityscapes/disparity/val").rglob("*.png"):
        path.unlink()
    line = CityscapesOptions().missing(tmp_path) or ""
    assert "no maps of `disparity` for split `test`, `disparity/val/<city>/*_disparity.png`" in line


def test_a_stored_zero_is_not_known_whatever_stands_for_zero() -> None:
    stored = np.array([[0, 1, 5, 9]], dtype=np.uint16)
    assert DistanceForm(0.5, zero=-1, ignore=(9,)).labels(stored, (1, 4)).tolist() == [[0, 1, 3, 0]]
    metres = np.array([[65.535, 2]], dtype=np.float32)  # whose first value is not 65.535 in float64
    assert DistanceForm(ignore=(65.535, 1e9)).labels(metres, (1, 2)).tolist() == [[0, 2]]
