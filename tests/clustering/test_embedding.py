"""Embeddings and k-means: PCA by singular values, unit scale, planted clusters."""

import logging

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tessera.clustering.embedding import Scale, embed_features, pca_layer
from tessera.clustering.kmeans import kmeans
from tessera.clustering.scores import agreement


def planted(noise: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(90) % 3
    return 5 + 4 * torch.eye(3, 14)[labels] + noise * torch.randn(90, 14), labels


def test_pca_layer_is_the_singular_value_decomposition_in_unit_variance() -> None:
    features = torch.randn(50, 14) * torch.linspace(3, 0.1, 14) + 2
    points = pca_layer(features)(features).detach().double()
    centered = features.double() - features.double().mean(0)
    left, values, _ = torch.linalg.svd(centered, full_matrices=False)
    expected = left[:, :10] * values[:10] / (values[:10].square().sum() / 49).sqrt()
    signs = (points * expected).sum(0).sign()
    assert_close(points, expected * signs, rtol=1e-4, atol=1e-5)
    assert_close(points.var(0).sum().item(), 1.0, rtol=1e-5, atol=0)


def test_fewer_features_than_ten_keep_all() -> None:
    assert pca_layer(torch.randn(50, 4)).weight.shape == (4, 4)


@pytest.mark.parametrize(("kind", "trained"), [("linear10", 2), ("pca", 0), ("gap", 0)])
def test_kinds_differ_in_what_is_trained_and_all_find_planted_clusters(kind: str, trained: int) -> None:
    features, labels = planted()
    layer, found = embed_features(kind, features, 3, restarts=3, seed=0)
    assert sum(parameter.requires_grad for parameter in layer.parameters()) == trained
    assert agreement(labels.numpy(), found.assignments.numpy())["accuracy"] == 100.0
    with torch.no_grad():
        points = layer(features)
    for cluster in range(3):
        assert_close(found.centers[cluster], points[found.assignments == cluster].mean(0), rtol=1e-3, atol=1e-4)


def test_gap_is_scaled_to_the_distance_to_the_nearest_centre() -> None:
    features, _ = planted(noise=0.7)
    layer, found = embed_features("gap", features, 3, restarts=3, seed=0)
    distances = torch.cdist(layer(features), found.centers).min(1).values
    assert_close(distances.square().mean().sqrt().item(), 1.0, rtol=1e-4, atol=0)
    assert_close(found.mean_square, 1.0)


def test_equal_features_are_left_unscaled_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="tessera"):
        layer, found = embed_features("gap", torch.ones(20, 4), 3, restarts=2, seed=0)
    assert isinstance(layer, Scale)
    assert found.centers.isfinite().all()
    assert "the same features" in caplog.text


def test_kmeans_repeats_with_its_seed_and_keeps_the_best_start() -> None:
    points = torch.randn(60, 2)
    assert torch.equal(kmeans(points, 6, 2, seed=3).centers, kmeans(points, 6, 2, seed=3).centers)
    assert kmeans(points, 6, 20, seed=3).mean_square <= kmeans(points, 6, 1, seed=3).mean_square
    found = kmeans(points, 6, 5, seed=2**40 + 1)
    distances = torch.cdist(points, found.centers).square()
    assert torch.equal(found.assignments, distances.argmin(1))
    assert_close(found.mean_square, distances.min(1).values.mean().item(), rtol=1e-4, atol=0)


def test_a_scale_has_nothing_to_learn() -> None:
    assert isinstance(Scale(2.0), nn.Module)
    assert Scale(2.0)(torch.tensor([4.0])).item() == 2.0
