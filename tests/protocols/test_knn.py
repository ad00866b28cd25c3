"""The vote of nearest neighbours against scikit-learn and a plain loop."""

import math

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from tessera.data.store import Dataset
from tessera.models.encoders.base import Encoder
from tessera.protocols.base import Measured
from tessera.protocols.features import extract_features
from tessera.protocols.knn import Knn, vote
from tessera.protocols.options import KnnOptions
from tessera.training.compute import Compute


def draw(number: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (number,), generator=generator)
    return torch.randn(number, 6, generator=generator) + torch.eye(5, 6)[labels], labels


@pytest.mark.parametrize(("neighbors", "temperature"), [(1, 0.07), (20, 0.07), (20, 10.0), (150, 0.5)])
def test_matches_scikit_learn(neighbors: int, temperature: float) -> None:
    (memory, labels), (queries, _) = draw(150, 0), draw(1100, 1)
    oracle = KNeighborsClassifier(
        neighbors, metric="cosine", weights=lambda distance: torch.tensor((1 - distance) / temperature).exp().numpy()
    ).fit(memory.numpy(), labels.numpy())
    found = vote(queries, memory, labels, 5, neighbors, temperature)
    assert found.tolist() == oracle.predict(queries.numpy()).tolist()


def test_matches_a_plain_loop() -> None:
    (memory, labels), (queries, _) = draw(40, 0), draw(25, 1)
    expected = []
    for query in queries.tolist():
        cosines = []
        for row, label in zip(memory.tolist(), labels.tolist(), strict=True):
            product = sum(a * b for a, b in zip(query, row, strict=True))
            cosines.append((product / math.hypot(*query) / math.hypot(*row), label))
        votes = [0.0] * 5
        for cosine, label in sorted(cosines, reverse=True)[:7]:
            votes[label] += math.exp(cosine / 0.2)
        expected.append(votes.index(max(votes)))
    assert vote(queries, memory, labels, 5, 7, 0.2).tolist() == expected


def test_a_worked_vote() -> None:
    # Two neighbours of class 1 at cosine 0.6 outvote one of class 0 at cosine 1 where votes weigh alike.
    memory = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8], [-1.0, 0.0]])
    query, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([0, 1, 1, 1])
    assert vote(query, memory, labels, 2, 3, temperature=10.0).tolist() == [1]
    assert vote(query, memory, labels, 2, 3, temperature=0.1).tolist() == [0]
    assert vote(query, memory, labels, 2, 1, temperature=10.0).tolist() == [0]


def test_a_tiny_temperature_is_the_nearest_neighbour() -> None:
    (memory, labels), (queries, _) = draw(60, 0), draw(30, 1)
    assert torch.equal(vote(queries, memory, labels, 5, 20, 1e-4), vote(queries, memory, labels, 5, 1, 1.0))


def test_length_of_features_does_not_count() -> None:
    (memory, labels), (queries, _) = draw(60, 0), draw(30, 1)
    scaled = vote(queries * 7, memory * torch.rand(60, 1).add(0.5), labels, 5, 20, 0.07)
    assert torch.equal(scaled, vote(queries, memory, labels, 5, 20, 0.07))


def test_more_neighbours_than_images_means_all(encoder: Encoder, dataset: Dataset, compute: Compute) -> None:
    few = dataset.train.subset(torch.arange(9))
    results = [
        Knn(KnnOptions(neighbors=k, layer="stage2")).evaluate(
            Measured(encoder, dataset.normalization), dataset, few, compute, 0
        )
        for k in (9, 20)
    ]
    assert results[0].metrics == results[1].metrics


@pytest.mark.parametrize("pool_px", [1, 2])
def test_reads_the_layer(pool_px: int, encoder: Encoder, dataset: Dataset, compute: Compute) -> None:
    queries, memory = (
        extract_features(encoder, split.images, dataset.normalization, compute, "stem", pool_px)
        for split in (dataset.test, dataset.train)
    )
    assert memory.shape[1] == 16 * pool_px**2
    found = Knn(KnnOptions(layer="stem", pool_px=pool_px)).evaluate(
        Measured(encoder, dataset.normalization), dataset, dataset.train, compute, 0
    )
    expected = vote(queries, memory, dataset.train.labels, 3, 20, 0.07)
    assert found.arrays["predictions"].tolist() == expected.tolist()
