"""Agreement of clusters and classes: worked by hand, by trying every map, by formula."""

import itertools
import math

import numpy as np
import pytest

from tessera.clustering.scores import agreement, match_clusters, size_entropy


def test_a_worked_accuracy() -> None:
    # Counts by cluster (columns) and class: cluster 0 holds classes 0, 0, 1; cluster 1: 1; cluster 2: 2, 2.
    labels = np.array([0, 0, 1, 1, 2, 2])
    assignments = np.array([0, 0, 0, 1, 2, 2])
    assert match_clusters(labels, assignments).tolist() == [0, 1, 2]
    assert agreement(labels, assignments)["accuracy"] == pytest.approx(100 * 5 / 6)


def test_a_map_is_one_to_one() -> None:
    # Both clusters hold mostly class 0; only one of them can stand for it.
    labels, assignments = np.array([0, 0, 0, 0, 0, 1]), np.array([0, 0, 0, 1, 1, 1])
    assert agreement(labels, assignments)["accuracy"] == pytest.approx(100 * 4 / 6)


@pytest.mark.parametrize(("classes", "clusters"), [(4, 4), (3, 5), (5, 3)])
def test_accuracy_is_the_best_of_all_maps(classes: int, clusters: int) -> None:
    draw = np.random.default_rng(0)
    labels = np.concatenate([np.arange(classes), draw.integers(0, classes, 60)])
    assignments = np.concatenate([np.arange(classes) % clusters, draw.integers(0, clusters, 60)])
    size = max(classes, clusters)
    best = max(np.mean(np.array(order)[assignments] == labels) for order in itertools.permutations(range(size)))
    assert agreement(labels, assignments)["accuracy"] == pytest.approx(100 * best)


def test_mutual_information_is_divided_by_the_mean_entropy() -> None:
    labels, assignments = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, 0, 0, 0, 0])

    def entropy(*columns: np.ndarray) -> float:
        rows = list(zip(*columns, strict=True))
        return -sum(rows.count(row) / 6 * math.log(rows.count(row) / 6) for row in set(rows))

    h_y, h_c, h_both = entropy(labels), entropy(assignments), entropy(labels, assignments)
    expected = 2 * (h_y + h_c - h_both) / (h_y + h_c)
    assert agreement(labels, assignments)["nmi"] == pytest.approx(100 * expected)


def test_the_rand_index_counts_pairs() -> None:
    labels, assignments = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, 0, 0, 0, 0])
    pairs = list(itertools.combinations(range(6), 2))
    same_y = [labels[a] == labels[b] for a, b in pairs]
    same_c = [assignments[a] == assignments[b] for a, b in pairs]
    both = sum(y and c for y, c in zip(same_y, same_c, strict=True))
    chance = sum(same_y) * sum(same_c) / len(pairs)
    expected = (both - chance) / ((sum(same_y) + sum(same_c)) / 2 - chance)
    assert agreement(labels, assignments)["ari"] == pytest.approx(100 * expected)


def test_names_of_clusters_do_not_count() -> None:
    draw = np.random.default_rng(0)
    labels, assignments = draw.integers(0, 4, 80), draw.integers(0, 4, 80)
    renamed = np.array([2, 0, 3, 1])
    plain = agreement(labels, assignments)
    assert agreement(labels, renamed[assignments]) == pytest.approx(plain)
    assert agreement(renamed[labels], assignments) == pytest.approx(plain)
    assert agreement(labels, renamed[labels]) == {"accuracy": 100.0, "nmi": 100.0, "ari": 100.0}


def test_entropy_of_sizes() -> None:
    assert size_entropy(np.arange(12) % 3, 3) == pytest.approx(1.0)
    assert size_entropy(np.zeros(5, dtype=int), 3) == 0.0
    assert size_entropy(np.array([0, 0, 0, 2]), 3) == pytest.approx(
        -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(3)
    )
