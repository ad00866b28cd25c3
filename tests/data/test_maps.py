"""Maps as label columns: on disk, in memory, and what of them is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tessera.data.columns import RawColumn
from tessera.data.store import Dataset, load_dataset, save_dataset
from tessera.errors import DataError

CPU = torch.device("cpu")
RANDOM = np.random.default_rng(0)
SHAPE = (7, 4, 6)
IMAGES = RANDOM.integers(256, size=(*SHAPE, 3), dtype=np.uint8)
CLASSES = RANDOM.integers(3, size=SHAPE, dtype=np.uint8)
CLASSES[0] = 255
DEPTH = RANDOM.random(SHAPE).astype(np.float16)
NORMALS = RANDOM.standard_normal((*SHAPE, 3)).astype(np.float16)
MAPS = {
    "segmentation": RawColumn(CLASSES, ["floor", "wall", "box"], "class_map"),
    "depth": RawColumn(DEPTH, [], "depth_map"),
    "normals": RawColumn(NORMALS, [], "normal_map"),
}


def save(folder: Path, **changed: RawColumn) -> Dataset:
    splits = {"train": np.array([4, 0, 1]), "test": np.array([2, 3]), "unlabeled": np.array([6])}
    save_dataset(folder, IMAGES, np.full(7, -1), splits, [], {**MAPS, **changed})
    return load_dataset(folder, CPU)


def test_maps_go_with_their_images(tmp_path: Path) -> None:
    dataset = save(tmp_path)
    assert (dataset.shape, dataset.image_size, dataset.classes) == ((4, 6), 4, ())
    assert {name: column.kind for name, column in dataset.columns.items()} == {
        name: column.kind for name, column in MAPS.items()
    }
    rows = [1, 4, 0]
    some = dataset.train.subset(torch.tensor([2, 0, 1]))
    assert torch.equal(some.images, torch.from_numpy(IMAGES[rows]).permute(0, 3, 1, 2))
    assert torch.equal(some.columns["segmentation"], torch.from_numpy(CLASSES[rows]))
    assert torch.equal(some.columns["depth"], torch.from_numpy(DEPTH[rows]))
    assert torch.equal(some.columns["normals"], torch.from_numpy(NORMALS[rows]).permute(0, 3, 1, 2))
    assert len(dataset.source_split().columns["depth"]) == 4
    assert dataset.train.to(CPU).columns["normals"].shape == (3, 3, 4, 6)


def test_a_map_is_no_class_of_an_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="label column `depth` has maps of depth, and no class of each image"):
        save(tmp_path).by("depth")


def changed(maps: np.ndarray, at: Any, value: float) -> np.ndarray:
    other = maps.copy()
    other[at] = value
    return other


@pytest.mark.parametrize(
    ("column", "labels", "message"),
    [
        (
            "segmentation",
            CLASSES[:6],
            r"`segmentation` must be \(7, 4, 6\) uint8, a map an image, of its size, but is",
        ),
        ("segmentation", CLASSES[:, :3], r"of its size, but is \(7, 3, 6\) uint8"),
        ("segmentation", CLASSES.astype(np.int64), r"\(7, 4, 6\) uint8.* but is \(7, 4, 6\) int64"),
        ("segmentation", changed(CLASSES, (5, 0, 0), 3), "the map of image 5 has class 3, but there are 3, from 0 on"),
        (
            "segmentation",
            changed(CLASSES, slice(None), 255),
            "no pixel of any training image has a label",
        ),
        ("depth", changed(DEPTH, (2, 1, 1), np.nan), "`depth`: the map of image 2 has values that are negative or not"),
        ("depth", changed(DEPTH, (2, 1, 1), -1), "`depth`: the map of image 2 has values that are negative or not"),
        ("depth", changed(DEPTH, slice(None, 5), 0), "`depth`: no pixel of any training image has a label"),
        ("normals", NORMALS[..., :2], r"`normals` must be \(7, 4, 6, 3\) float16"),
        ("normals", changed(NORMALS, (3, 0, 0, 0), np.inf), "`normals`: the map of image 3 has values"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(tmp_path: Path, column: str, labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        save(tmp_path, **{column: MAPS[column]._replace(labels=labels)})
    assert "\n" not in str(error.value)
