"""What a clustering keeps to be looked at: the queries, the images it retrieved, the map."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tessera.clustering.illustrate import NEAREST, choose_queries, embedding_map, illustrate, save_retrieval
from tessera.clustering.retrieval import nearest_neighbors
from tessera.data.store import Dataset, Split
from tessera.report.pictures.sheets import read_sheet

LABELS = np.random.default_rng(0).permutation(np.arange(60) % 3)


def make_dataset(size: int = 16) -> Dataset:
    """Images of one level each, four times their place in the training split followed by the test split."""
    levels = torch.arange(60).mul(4).to(torch.uint8)
    images = levels[:, None, None, None].expand(-1, 3, size, size).contiguous()
    whole = Split(images, torch.from_numpy(LABELS))
    splits = {"train": whole.subset(torch.arange(40)), "test": whole.subset(torch.arange(40, 60))}
    return Dataset(("a", "b", "c"), size, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3), splits)


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """Of a clustering of every second image."""
    indices = np.arange(0, 60, 2)
    points = np.random.default_rng(seed).normal(size=(30, 5)).astype(np.float32)
    neighbors = nearest_neighbors(torch.from_numpy(points), 10).numpy()
    return {"labels": LABELS[indices], "indices": indices, "neighbors": neighbors, "embedding": points}


def test_one_query_a_class_drawn_by_the_trial_alone() -> None:
    found = choose_queries(LABELS, 0)
    assert LABELS[found].tolist() == [0, 1, 2]
    assert choose_queries(LABELS, 0).tolist() == found.tolist()
    assert len({tuple(choose_queries(LABELS, trial)) for trial in range(8)}) > 4
    many = np.arange(300) % 100
    chosen = many[choose_queries(many, 0)]
    assert len(set(chosen)) == 10
    assert (np.diff(chosen) > 0).all()
    assert chosen.max() > 20  # not the first ten classes


@pytest.mark.parametrize("size", [16, 192])
def test_kept_images_are_the_query_and_its_neighbours(size: int, tmp_path: Path) -> None:
    made = arrays()
    save_retrieval(made, make_dataset(size), 0, tmp_path)
    about = json.loads((tmp_path / "retrieval.json").read_text())
    assert about["classes"] == ["a", "b", "c"]
    sheets = read_sheet(tmp_path / "retrieval.jpg", about["strips"])
    rows = choose_queries(made["labels"], 0)
    for row, query, strip in zip(rows, about["queries"], sheets, strict=True):
        assert strip.shape == (1 + NEAREST, min(size, 96), min(size, 96), 3)
        nearest = made["neighbors"][row][:NEAREST]
        assert query["image"] == made["indices"][row]
        assert query["neighbors"] == made["indices"][nearest].tolist()
        assert query["label"] == LABELS[query["image"]]
        assert query["neighbor_labels"] == LABELS[query["neighbors"]].tolist()
        levels = strip.mean(axis=(1, 2, 3))
        assert levels == pytest.approx([4 * image for image in (query["image"], *query["neighbors"])], abs=1)


def test_methods_are_asked_for_the_same_images(tmp_path: Path) -> None:
    asked = []
    for seed in (0, 1):
        save_retrieval(arrays(seed), make_dataset(), 0, tmp_path)
        queries = json.loads((tmp_path / "retrieval.json").read_text())["queries"]
        asked.append([(query["image"], tuple(query["neighbors"])) for query in queries])
    first, second = asked
    assert [image for image, _ in first] == [image for image, _ in second]
    assert first != second


def test_the_map_keeps_groups_together_and_repeats_itself() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(90) % 3
    points = (10 * np.eye(5)[labels] + random.normal(size=(90, 5))).astype(np.float32)
    rows, found = embedding_map(points, 0)
    assert rows.tolist() == list(range(90))
    assert found.shape == (90, 2)
    assert found.dtype == np.float32
    distances = ((found[:, None] - found) ** 2).sum(axis=2) + 1e9 * np.eye(90)
    assert (labels[distances.argmin(axis=1)] == labels).all()
    again = embedding_map(points, 0)[1]
    assert np.array_equal(found, again)


def test_at_most_a_thousand_points_are_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tessera.clustering.illustrate.MAPPED", 20)
    points = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    rows = [embedding_map(points, trial)[0] for trial in (0, 1)]
    assert len(set(rows[0])) == 20
    assert (np.diff(rows[0]) > 0).all()
    assert rows[0].tolist() != rows[1].tolist()


def test_points_that_are_all_the_same_have_a_map() -> None:
    assert np.isfinite(embedding_map(np.ones((12, 4), np.float32), 0)[1]).all()


def test_a_protocol_of_a_user_s_own_may_keep_less(tmp_path: Path) -> None:
    illustrate({"labels": LABELS}, make_dataset(), 0, tmp_path)
    assert not list(tmp_path.iterdir())
    illustrate(arrays(), make_dataset(), 0, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"retrieval.json", "retrieval.jpg", "map.npz"}
    with np.load(tmp_path / "map.npz", allow_pickle=False) as kept:
        assert kept["coordinates"].shape == (30, 2)
        assert (kept["labels"] == arrays()["labels"][kept["rows"]]).all()
