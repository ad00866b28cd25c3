"""The stage `evaluate_target`, pinned: where these numbers change, its cached artifacts are no longer right."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tessera import registry
from tessera.data.store import Dataset, Split
from tessera.study.jobs import EvaluateTarget
from tessera.training import Compute

PINNED: dict[str, dict[str, float]] = {
    "classification": {"accuracy": 33.3333, "top5_accuracy": 100.0, "cross_entropy": 4.352536},
    "linear_probe": {"accuracy": 46.6667, "train_accuracy": 100.0},
    "knn": {"accuracy": 58.3333},
}


def fill(model: nn.Module) -> nn.Module:
    """Weights that no version of torch draws."""
    draw = np.random.default_rng(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                values = draw.normal(0, np.sqrt(2 / weight[0].numel()), tuple(weight.shape))
                weight.copy_(torch.from_numpy(values))
    return model


def make_dataset() -> Dataset:
    draw = np.random.default_rng(1)
    colors = draw.uniform(0.2, 0.8, (3, 3, 1, 1))
    splits = {}
    for name, number in {"train": 90, "test": 60}.items():
        labels = np.arange(number) % 3
        images = colors[labels] + draw.normal(0, 0.5, (number, 3, 16, 16)) + draw.normal(0, 0.15, (number, 3, 1, 1))
        pixels = (images.clip(0, 1) * 255).astype(np.uint8)
        splits[name] = Split(torch.from_numpy(pixels), torch.from_numpy(labels))
    return Dataset(("a", "b", "c"), 16, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3), splits)


def models() -> dict[str, nn.Module]:
    encoder = registry.load("encoder", "resnet8")(registry.find("encoder", "resnet8").options())  # type: ignore[call-arg]
    options = registry.find("network", "reduced_alexnet").options(hidden=16)  # type: ignore[call-arg]
    network = registry.load("network", "reduced_alexnet")(options, num_classes=3, image_size=16)
    return {"encoder": fill(encoder), "network": fill(network)}


@pytest.mark.parametrize("name", ["classification", "linear_probe", "knn"])
def test_results_change_only_with_the_version(name: str) -> None:
    assert EvaluateTarget.version == 1, "pin the new version's numbers"
    part, dataset = registry.find("protocol", name), make_dataset()
    options: Any = part.options(name=name)
    found = registry.load("protocol", name)(options).evaluate(
        models()[options.measures], dataset.mean, dataset.std, dataset, dataset.train,
        Compute(torch.device("cpu"), "float32"), 0,
    )  # fmt: skip
    assert found.metrics == pytest.approx(PINNED[name], rel=1e-3), "results changed: bump EvaluateTarget.version"
