"""The stage `pretrain_source`, pinned: where these numbers change, its cached artifacts are no longer right."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tessera import registry
from tessera.data.store import Dataset, Split
from tessera.multitask.pretrain import pretrain
from tessera.study.jobs import PretrainSource
from tessera.study.schema import Source
from tessera.training import Compute

METHODS: dict[str, dict[str, Any]] = {
    "tte": {"schedule": "branches", "fusion": {"name": "tte", "window": 2}, "regularizer": "divergence"},
    "joint": {"schedule": "joint"},
}
PINNED: dict[str, dict[str, float]] = {
    "tte": {
        "jigsaw.loss": 2.28776,
        "jigsaw.regularizer": 0.000258167,
        "jigsaw.validation_loss": 2.2669,
        "jigsaw.impact": 4.41084e-05,
        "colorization.loss": 5.78413,
        "colorization.regularizer": 8.21841e-05,
        "colorization.validation_loss": 5.847,
        "colorization.impact": 2.16736e-05,
        "segmentation.loss": 1.13021,
        "segmentation.regularizer": 8.70582e-06,
        "segmentation.validation_loss": 1.10567,
        "segmentation.impact": 1.50894e-05,
        "reconstruction.loss": 0.360195,
        "reconstruction.regularizer": 4.96973e-06,
        "reconstruction.validation_loss": 0.320424,
        "reconstruction.impact": 7.78437e-06,
        "alpha.jigsaw": 0.267881,
        "alpha.colorization": 0.281913,
        "alpha.segmentation": 0.263594,
        "alpha.reconstruction": 0.186611,
        "beta": 0.00999256,
        "impact_spread": 0.593732,
        "conv1.weight": 0.0934932,
        "bn1.running_var": 0.193226,
        "layer3.0.conv2.weight[0]": -0.0130253,
        "layer3.0.conv2.weight[1]": 0.103421,
        "layer3.0.conv2.weight[2]": 0.0151976,
    },
    "joint": {
        "jigsaw.loss": 2.28329,
        "jigsaw.validation_loss": 2.26341,
        "colorization.loss": 5.78316,
        "colorization.validation_loss": 5.84252,
        "segmentation.loss": 1.1278,
        "segmentation.validation_loss": 1.10052,
        "reconstruction.loss": 0.355008,
        "reconstruction.validation_loss": 0.304545,
        "conv1.weight": 0.0935498,
        "bn1.running_var": 0.194267,
        "layer3.0.conv2.weight[0]": -0.0130488,
        "layer3.0.conv2.weight[1]": 0.103351,
        "layer3.0.conv2.weight[2]": 0.0152076,
    },
}


def make_dataset() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    images = (F.interpolate(torch.rand(24, 3, 8, 8, generator=generator), size=32, mode="bilinear") * 255).byte()
    labels = torch.arange(24) % 2
    splits = {"train": Split(images[:16], labels[:16]), "test": Split(images[16:], labels[16:])}
    return Dataset(("a", "b"), 32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), splits)


def make_source(**parts: Any) -> Source:
    return Source(
        dataset="cifar10",
        encoder="resnet8",
        tasks=[{"name": "jigsaw", "permutations": 10}, "colorization", "segmentation", "reconstruction"],
        epochs=2,
        iterations=8,
        batch_size=8,
        statistics_batches=2,
        optimizer={"learning_rate": 0.02, "schedule": "constant"},
        **parts,
    )


@pytest.mark.parametrize("method", METHODS)
def test_results_change_only_with_the_version(method: str) -> None:
    assert PretrainSource.version == 1, "pin the new version's numbers"
    source, dataset = make_source(**METHODS[method]), make_dataset()
    labels = {
        task.name: registry.load("task", task.name).prepare(task.at(32), 32, dataset, torch.Generator().manual_seed(0))
        for task in source.tasks
    }
    result = pretrain(source, dataset, labels, Compute(torch.device("cpu"), "float32"), 0, None)
    state = result.encoder.state_dict()
    found = {key: value for key, value in result.metrics.items() if "chance" not in key}
    found |= {name: state[name].abs().mean().item() for name in ("conv1.weight", "bn1.running_var")}
    found |= {f"layer3.0.conv2.weight[{i}]": state["layer3.0.conv2.weight"][i, i, 1, 1].item() for i in range(3)}
    compared = {name: found[name] for name in PINNED[method]}
    assert compared == pytest.approx(PINNED[method], rel=1e-3), (
        f"results of pretrain_source changed: bump PretrainSource.version. Found: {found}"
    )
