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
    "msvl": {"encoder": "resnet26", "schedule": "round_robin", "sharing": {"name": "lasso", "weight": 0.01}},
}
PINNED: dict[str, dict[str, float]] = {
    "tte": {
        "jigsaw.loss": 2.37626,
        "jigsaw.regularizer": 0.00502722,
        "jigsaw.validation_loss": 2.28394,
        "jigsaw.impact": 0.000238361,
        "colorization.loss": 5.77362,
        "colorization.regularizer": 0.00172354,
        "colorization.validation_loss": 5.82839,
        "colorization.impact": 0.000120317,
        "segmentation.loss": 1.10646,
        "segmentation.regularizer": 0.000177574,
        "segmentation.validation_loss": 1.08563,
        "segmentation.impact": 6.65149e-05,
        "reconstruction.loss": 0.314183,
        "reconstruction.regularizer": 0.000309696,
        "reconstruction.validation_loss": 0.280443,
        "reconstruction.impact": 5.52844e-05,
        "alpha.jigsaw": 0.287353,
        "alpha.colorization": 0.287374,
        "alpha.segmentation": 0.261071,
        "alpha.reconstruction": 0.164202,
        "beta": 0.0159177,
        "impact_spread": 0.588817,
        "conv1.weight": 0.0935486,
        "bn1.running_var": 0.193217,
        "layer3.0.conv2.weight[0]": -0.0132125,
        "layer3.0.conv2.weight[1]": 0.103489,
        "layer3.0.conv2.weight[2]": 0.0152216,
    },
    "joint": {
        "jigsaw.loss": 2.41731,
        "jigsaw.validation_loss": 2.2923,
        "colorization.loss": 5.76679,
        "colorization.validation_loss": 5.81314,
        "segmentation.loss": 1.10254,
        "segmentation.validation_loss": 1.08082,
        "reconstruction.loss": 0.311929,
        "reconstruction.validation_loss": 0.284258,
        "conv1.weight": 0.0939258,
        "bn1.running_var": 0.195478,
        "layer3.0.conv2.weight[0]": -0.0143208,
        "layer3.0.conv2.weight[1]": 0.103827,
        "layer3.0.conv2.weight[2]": 0.0154788,
    },
    "msvl": {
        "jigsaw.loss": 3.40578,
        "jigsaw.validation_loss": 2.2556,
        "colorization.loss": 5.77221,
        "colorization.validation_loss": 5.81616,
        "segmentation.loss": 1.10803,
        "segmentation.validation_loss": 1.08198,
        "reconstruction.loss": 0.302084,
        "reconstruction.validation_loss": 0.271298,
        "share.jigsaw.stage3.unit1": 0.655826,
        "share.jigsaw.stage3.unit2": 0.526025,
        "share.jigsaw.stage3.unit3": 0.420761,
        "share.jigsaw.stage3": 0.340808,
        "share.colorization.stage3.unit1": 0.504225,
        "share.colorization.stage3.unit2": 0.502764,
        "share.colorization.stage3.unit3": 0.498054,
        "share.colorization.stage3": 0.494902,
        "conv1.weight": 0.117947,
        "bn1.running_var": 0.600666,
        "layer3.0.conv2.weight[0]": 0.0114586,
        "layer3.0.conv2.weight[1]": -0.0569748,
        "layer3.0.conv2.weight[2]": -0.019191,
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
        encoder=parts.pop("encoder", "resnet8"),
        tasks=[{"name": "jigsaw", "permutations": 10}, "colorization", "segmentation", "reconstruction"],
        epochs=2,
        iterations=8,
        batch_size=8,
        statistics_batches=2,
        optimizer={"learning_rate": 0.1, "schedule": "constant"},
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
    assert compared == pytest.approx(PINNED[method], rel=1e-3, abs=1e-6), (
        f"results of pretrain_source changed: bump PretrainSource.version. Found: {found}"
    )
