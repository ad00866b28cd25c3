"""Deep embedded clustering: planted classes, frozen parts, resuming, limits, messages."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tessera.clustering import dec
from tessera.clustering.assignment import divergence, log_soft_assignment, target_distribution
from tessera.clustering.dec import DeepEmbeddedClustering
from tessera.clustering.embedding import embed_features
from tessera.clustering.kmeans import kmeans
from tessera.data.store import Dataset, Split
from tessera.errors import DataError, TesseraError
from tessera.models.encoders.base import Encoder
from tessera.models.encoders.cifar_resnet import ResNet8
from tessera.models.encoders.options import ResNet8Options
from tessera.protocols.base import Evaluation, Measured
from tessera.protocols.features import extract_features
from tessera.protocols.options import ClusteringOptions
from tessera.training.compute import Compute
from tessera.training.randomness import generator_of, seed_of

CPU = Compute(torch.device("cpu"), "float32")


def draw(number: int, seed: int, noise: float) -> Split:
    colors = torch.tensor([[0.2, 0.2, 0.8], [0.8, 0.2, 0.2], [0.3, 0.8, 0.3]])
    labels = torch.randint(3, (number,), generator=torch.Generator().manual_seed(seed))
    images = colors[labels][:, :, None, None] + noise * torch.randn(
        number, 3, 8, 8, generator=torch.Generator().manual_seed(seed + 1)
    )
    return Split((images.clamp(0, 1) * 255).to(torch.uint8), labels)


def make_dataset(noise: float = 0.1) -> Dataset:
    splits = {"train": draw(60, 1, noise), "test": draw(30, 5, noise)}
    return Dataset(("a", "b", "c"), 8, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3), splits)


@pytest.fixture
def encoder() -> Encoder:
    return ResNet8(ResNet8Options())


def cluster(
    encoder: Encoder, dataset: Dataset, resume: Path | None = None, trial: int = 0, **options: Any
) -> Evaluation:
    quick = {"iterations": 6, "update_interval": 2, "restarts": 2, "batch_size": 16, "tolerance": 0.0}
    protocol = DeepEmbeddedClustering(ClusteringOptions(**{**quick, **options}))
    return protocol.evaluate(Measured(encoder, dataset.normalization), dataset, dataset.train, CPU, trial, resume)


@pytest.mark.parametrize("embedding", ["linear10", "gap", "pca"])
@pytest.mark.parametrize("train_encoder", [True, False])
def test_well_separated_classes_are_found(encoder: Encoder, embedding: str, train_encoder: bool) -> None:
    found = cluster(encoder, make_dataset(), embedding=embedding, train_encoder=train_encoder)
    assert found.metrics["accuracy"] == found.metrics["nmi"] == found.metrics["ari"] == 100.0
    assert found.metrics["recall_at_1"] > 95.0


def test_the_gap_to_a_fixed_target_closes_as_points_draw_together(encoder: Encoder) -> None:
    found = cluster(encoder, make_dataset(noise=0.6), iterations=40, update_interval=10, learning_rate=0.1)
    data = make_dataset(noise=0.6)
    before = cluster(encoder, data, iterations=0)

    def spread(evaluation: Evaluation) -> float:
        """Mean squared distance within clusters, over that to the middle of everything."""
        points, hard = evaluation.arrays["embedding"], evaluation.arrays["assignments"]
        within = sum(((points[hard == c] - points[hard == c].mean(0)) ** 2).sum() for c in np.unique(hard))
        return float(within / ((points - points.mean(0)) ** 2).sum())

    assert spread(found) < 0.9 * spread(before)


def test_no_iterations_is_plain_kmeans(encoder: Encoder) -> None:
    data = make_dataset(noise=0.6)
    found = cluster(encoder, data, iterations=0, embedding="gap")
    images = torch.cat([data.train.images, data.test.images])
    features = extract_features(encoder, images, data.normalization, CPU)
    plain = kmeans(features, 3, 2, seed_of(0, "clustering", "kmeans"))
    assert np.array_equal(found.arrays["assignments"], plain.assignments.numpy())
    assert found.metrics["accuracy"] == found.metrics["initial_accuracy"]
    assert [row["iteration"] for row in found.history] == [0]


def test_a_turn_equals_plain_steps_on_the_whole_loss(encoder: Encoder) -> None:
    # One batch is the whole data set, so that two iterations can be written out.
    data = make_dataset(noise=0.6)
    found = cluster(
        encoder, data, iterations=2, update_interval=2, batch_size=90, learning_rate=0.5, train_encoder=False
    )
    images = torch.cat([data.train.images, data.test.images])
    features = extract_features(encoder, images, data.normalization, CPU)
    layer, start = embed_features("linear10", features, 3, 2, seed_of(0, "clustering", "kmeans"))
    centers = start.centers.clone().requires_grad_()
    weights = [centers, *layer.parameters()]
    with torch.no_grad():
        target = target_distribution(log_soft_assignment(layer(features), centers).exp())
    speed = [torch.zeros_like(weight) for weight in weights]
    for _ in range(2):
        slopes = torch.autograd.grad(divergence(target, log_soft_assignment(layer(features), centers)), weights)
        for weight, moving, slope in zip(weights, speed, slopes, strict=True):
            moving.mul_(0.9).add_(slope)
            weight.data -= 0.5 * moving
    assert_close(torch.from_numpy(found.arrays["embedding"]), layer(features).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("train_encoder", [True, False])
def test_only_the_parts_that_should_move_do(encoder: Encoder, train_encoder: bool, monkeypatch: Any) -> None:
    networks = []

    class Spy(dec.ClusterNetwork):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            networks.append(self)

    monkeypatch.setattr(dec, "ClusterNetwork", Spy)
    data = make_dataset(noise=0.6)
    start = {name: value.clone() for name, value in encoder.state_dict().items()}
    frozen = cluster(encoder, data, embedding="pca", train_encoder=train_encoder)
    moved = {
        name for name, value in networks[0].state_dict().items() if name.startswith("encoder.")
        and not torch.equal(value, start[name.removeprefix("encoder.")])
    }  # fmt: skip
    assert bool(moved) == train_encoder
    assert not any("running" in name or "batches" in name for name in moved)
    unmoved = cluster(encoder, data, embedding="pca", train_encoder=train_encoder, iterations=0)
    assert np.array_equal(frozen.arrays["embedding"], unmoved.arrays["embedding"]) != train_encoder
    assert not torch.equal(networks[0].centers, networks[1].centers)


def test_a_killed_job_ends_with_the_same_bytes(encoder: Encoder, tmp_path: Path, monkeypatch: Any) -> None:
    data = make_dataset(noise=0.6)
    whole = cluster(encoder, data, iterations=8)
    train, turns = DeepEmbeddedClustering._train, []

    def killed(self: DeepEmbeddedClustering, *args: Any) -> None:
        turns.append(1)
        if len(turns) == 3:
            raise KeyboardInterrupt
        train(self, *args)

    monkeypatch.setattr(DeepEmbeddedClustering, "_train", killed)
    with pytest.raises(KeyboardInterrupt):
        cluster(encoder, data, tmp_path, iterations=8)
    resumed = cluster(encoder, data, tmp_path, iterations=8)
    assert len(turns) == 5  # two of four turns were done
    assert resumed.metrics == whole.metrics
    assert resumed.history == whole.history
    assert all(resumed.arrays[name].tobytes() == whole.arrays[name].tobytes() for name in whole.arrays)


def test_history_has_a_row_an_update_and_the_tolerance_stops(encoder: Encoder) -> None:
    data = make_dataset(noise=0.6)
    found = cluster(encoder, data, iterations=5, update_interval=2)
    assert [row["iteration"] for row in found.history] == [0, 2, 4, 5]
    assert found.history[0]["changed"] == 0.0
    assert found.history[-1]["accuracy"] == found.metrics["accuracy"]
    assert all(set(row) == set(found.history[0]) for row in found.history)
    stopped = cluster(encoder, data, iterations=50, update_interval=2, tolerance=0.99)
    assert [row["iteration"] for row in stopped.history] == [0, 2]


def test_trials_differ_and_options_are_heard(encoder: Encoder) -> None:
    data = make_dataset(noise=0.9)
    plain = cluster(encoder, data, iterations=6).arrays["embedding"]
    for other in (
        cluster(encoder, data, trial=1),
        cluster(encoder, data, learning_rate=0.05),
        cluster(encoder, data, batch_size=20),
        cluster(encoder, data, update_interval=3),
        cluster(encoder, data, iterations=4),
        cluster(encoder, data, clusters=5),
    ):
        assert not np.array_equal(other.arrays["embedding"], plain)
    once, often = (cluster(encoder, data, clusters=8, restarts=n, iterations=0) for n in (1, 20))
    assert not np.array_equal(once.arrays["assignments"], often.arrays["assignments"])


def test_only_so_many_images_are_drawn(encoder: Encoder) -> None:
    data = make_dataset()
    found = cluster(encoder, data, images=25)
    index = found.arrays["indices"]
    assert len(index) == len(set(index.tolist())) == len(found.arrays["assignments"]) == 25
    labels = torch.cat([data.train.labels, data.test.labels])
    assert np.array_equal(found.arrays["labels"], labels[torch.from_numpy(index)].numpy())
    assert index.max() >= 60 > index.min()  # of both splits
    assert not np.array_equal(index, cluster(encoder, data, images=25, trial=1).arrays["indices"])


def test_more_clusters_than_classes_leave_some_without_a_class(encoder: Encoder) -> None:
    found = cluster(encoder, make_dataset(), clusters=5)
    assert set(found.arrays["predictions"].tolist()) >= {-1, 0, 1, 2}
    assert found.metrics["accuracy"] < 100.0


def test_arrays_hold_what_figures_need(encoder: Encoder) -> None:
    found = cluster(encoder, make_dataset())
    arrays = found.arrays
    assert arrays["embedding"].shape == (90, 10)
    assert arrays["embedding"].dtype == np.float32
    assert arrays["neighbors"].shape == (90, 10)
    same = arrays["labels"][arrays["neighbors"][:, 0]] == arrays["labels"]
    assert found.metrics["recall_at_1"] == pytest.approx(100 * same.mean())


def test_batches_do_not_repeat_from_turn_to_turn() -> None:
    draws = [torch.randperm(90, generator=generator_of(0, "clustering", turn)) for turn in (0, 2)]
    assert not torch.equal(*draws)


def test_a_collapse_is_said(encoder: Encoder, caplog: pytest.LogCaptureFixture) -> None:
    data = make_dataset()
    same = {name: Split(torch.full_like(split.images, 9), split.labels) for name, split in data.splits.items()}
    with caplog.at_level(logging.WARNING, logger="tessera"):
        found = cluster(encoder, Dataset(data.classes, 8, *data.normalization, same))
    assert "collapsed: 2 clusters are empty" in caplog.text
    assert all(np.isfinite(value) for value in found.metrics.values())


def test_a_loss_that_is_no_number_ends_the_run(encoder: Encoder) -> None:
    with pytest.raises(TesseraError, match=r"the loss is nan at iteration .*Lower target.protocol.learning_rate"):
        cluster(encoder, make_dataset(noise=0.6), learning_rate=1e30, iterations=20)


def test_fewer_images_than_clusters_are_refused(encoder: Encoder) -> None:
    with pytest.raises(DataError, match="10 images cannot make 11 clusters"):
        cluster(encoder, make_dataset(), images=10, clusters=11)
