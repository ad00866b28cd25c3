"""Retrieval: worked by hand, and against scikit-learn."""

import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from tessera.clustering.retrieval import nearest_neighbors, recalls


def test_a_worked_recall() -> None:
    # Directions 0, 10, 30 and 70 degrees, lengths that must not count; classes a, b, b, a.
    angles = torch.tensor([0.0, 10.0, 30.0, 70.0]).deg2rad()
    points = torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [9.0], [0.1], [4.0]])
    neighbors = nearest_neighbors(points, 3)
    assert neighbors.tolist() == [[1, 2, 3], [0, 2, 3], [1, 0, 3], [2, 1, 0]]
    found = recalls(torch.tensor([0, 1, 1, 0]), neighbors, (1, 2, 3))
    assert found == {"recall_at_1": 25.0, "recall_at_2": 50.0, "recall_at_3": 100.0}


def test_matches_scikit_learn_across_chunks() -> None:
    points = torch.randn(1100, 5)
    oracle = NearestNeighbors(n_neighbors=11, metric="cosine").fit(points.double().numpy())
    expected = oracle.kneighbors(points.double().numpy(), return_distance=False)[:, 1:]
    found = nearest_neighbors(points, 10)
    assert (found == torch.from_numpy(expected)).double().mean() > 0.999  # float32 may swap two that are equally near


def test_a_query_is_never_its_own_neighbour_even_among_twins() -> None:
    points = torch.ones(6, 3)
    neighbors = nearest_neighbors(points, 10)
    assert neighbors.shape == (6, 5)
    assert all(sorted([*row, query]) == list(range(6)) for query, row in enumerate(neighbors.tolist()))


def test_recall_grows_with_k() -> None:
    labels = torch.randint(5, (200,))
    found = recalls(labels, nearest_neighbors(torch.randn(200, 4), 10))
    assert found["recall_at_1"] <= found["recall_at_5"] <= found["recall_at_10"]
    by_chance = 100 * (1 - (1 - 1 / 5) ** 5)
    assert found["recall_at_5"] == pytest.approx(by_chance, abs=12)
