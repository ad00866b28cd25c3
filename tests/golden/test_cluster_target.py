"""The stage `cluster_target`, pinned: where these numbers change, its cached artifacts are no longer right."""

import numpy as np
import pytest
import torch

from tessera import registry
from tessera.data.store import Dataset, Split
from tessera.study.jobs import ClusterTarget
from tessera.targets.options import ClusteringOptions
from tessera.training import Compute

METRICS = {
    "accuracy": 56.6667, "nmi": 22.33335, "ari": 21.55988,
    "recall_at_1": 68.0, "recall_at_5": 91.3333, "recall_at_10": 94.6667,
    "initial_accuracy": 52.6667, "initial_nmi": 20.68987, "initial_ari": 15.73831,
}  # fmt: skip
KL = [0.03084968, 0.03288409, 0.03642751]
MEAN_NORM = 1.076729


def test_results_change_only_with_the_version() -> None:
    assert ClusterTarget.version == 1, "pin the new version's numbers"
    draw = np.random.default_rng(0)
    encoder = registry.load("encoder", "resnet8")(registry.find("encoder", "resnet8").options())  # type: ignore[call-arg]
    with torch.no_grad():
        for weight in encoder.parameters():  # weights that no version of torch draws
            if weight.ndim > 1:
                values = draw.normal(0, np.sqrt(2 / weight[0].numel()), tuple(weight.shape))
                weight.copy_(torch.from_numpy(values))
    labels = np.arange(150) % 3
    noise = draw.normal(0, 0.5, (150, 3, 16, 16)) + draw.normal(0, 0.15, (150, 3, 1, 1))
    pixels = ((draw.uniform(0.2, 0.8, (3, 3, 1, 1))[labels] + noise).clip(0, 1) * 255).astype(np.uint8)
    whole = Split(torch.from_numpy(pixels), torch.from_numpy(labels))
    splits = {"train": whole.subset(torch.arange(90)), "test": whole.subset(torch.arange(90, 150))}
    dataset = Dataset(("a", "b", "c"), 16, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3), splits)

    options = ClusteringOptions(
        iterations=6, update_interval=3, restarts=3, batch_size=32, tolerance=0.0, learning_rate=0.01
    )
    found = registry.load("protocol", "clustering")(options).evaluate(
        encoder, dataset.mean, dataset.std, dataset, dataset.train, Compute(torch.device("cpu"), "float32"), 0
    )
    changed = "results changed: bump ClusterTarget.version"
    norms = np.linalg.norm(found.arrays["embedding"], axis=1)
    assert found.metrics == pytest.approx(METRICS, rel=1e-3), changed
    assert [row["kl"] for row in found.history] == pytest.approx(KL, rel=1e-3), changed
    assert norms.mean() == pytest.approx(MEAN_NORM, rel=1e-3), changed
