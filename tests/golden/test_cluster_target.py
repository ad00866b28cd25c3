"""The stage `cluster_target`, pinned: where these numbers change, its cached artifacts are no longer right."""

import numpy as np
import pins
import torch

from tessera import registry
from tessera.data.store import Dataset, Split
from tessera.jobs import ClusterTarget
from tessera.protocols.base import Measured
from tessera.protocols.options import ClusteringOptions
from tessera.training.compute import Compute

PINNED: dict[str, float] = {
    "accuracy": 66,
    "nmi": 34.06097938,
    "ari": 34.01669745,
    "recall_at_1": 64,
    "recall_at_5": 92.66666667,
    "recall_at_10": 96.66666667,
    "initial_accuracy": 66,
    "initial_nmi": 34.06097938,
    "initial_ari": 34.01669745,
    "kl[0]": 0.02776920405,
    "kl[1]": 0.02871582734,
    "kl[2]": 0.03071119403,
    "norm": 1.005519766,
    "spread": 9.589323032,
}


def test_results_change_only_with_the_version(cpu: Compute) -> None:
    """Other processors, libraries and threads changed these numbers by at most 5e-15 of them."""
    assert ClusterTarget.version == 1, "pin the new version's numbers"
    draw = np.random.default_rng(0)
    options = registry.find("encoder", "resnet8").options()  # type: ignore[call-arg]
    encoder = pins.fill(registry.load("encoder", "resnet8")(options))
    labels = np.arange(150) % 3
    noise = draw.normal(0, 0.5, (150, 3, 16, 16)) + draw.normal(0, 0.15, (150, 3, 1, 1))
    pixels = ((draw.uniform(0.2, 0.8, (3, 3, 1, 1))[labels] + noise).clip(0, 1) * 255).astype(np.uint8)
    whole = Split(torch.from_numpy(pixels), torch.from_numpy(labels))
    splits = {"train": whole.subset(torch.arange(90)), "test": whole.subset(torch.arange(90, 150))}
    dataset = Dataset(("a", "b", "c"), 16, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3), splits)

    options = ClusteringOptions(
        iterations=6, update_interval=3, restarts=3, batch_size=32, tolerance=0.0, learning_rate=0.01
    )
    evaluation = registry.load("protocol", "clustering")(options).evaluate(
        Measured(encoder, dataset.normalization), dataset, dataset.train, cpu, 0
    )
    found = {**evaluation.metrics, **{f"kl[{i}]": row["kl"] for i, row in enumerate(evaluation.history)}}
    points = evaluation.arrays["embedding"]
    found["norm"] = np.linalg.norm(points, axis=1).mean()
    # Each axis of the embedding may point either way.
    found |= {"spread": points.std(axis=0) @ np.arange(points.shape[1])}
    pins.compare(found, PINNED, "ClusterTarget")
