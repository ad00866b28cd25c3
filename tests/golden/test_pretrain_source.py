"""The stage `pretrain_source`, pinned: where these numbers change, its cached artifacts are no longer right."""

from typing import Any

import pins
import pytest
import torch

from tessera import registry
from tessera.data.store import Dataset, Split
from tessera.jobs import PretrainSource
from tessera.multitask.pretrain import pretrain
from tessera.multitask.source import Source
from tessera.training.compute import Compute

PAPER = [{"name": "jigsaw", "permutations": 10}, "colorization", "segmentation", "reconstruction"]
METHODS: dict[str, dict[str, Any]] = {
    "tte": {"schedule": "branches", "fusion": {"name": "tte", "window": 2}, "regularizer": "divergence"},
    "sequential": {
        "schedule": "sequential",
        "tasks": ["colorization", "segmentation"],
        "fusion": {"name": "tte", "alpha": "inv_ratio", "window": 2, "window_feedback": True},
    },
    "average": {"schedule": "branches", "tasks": ["rotation", "reconstruction"], "fusion": "average"},
    "joint": {
        "schedule": "joint",
        "harmonize": True,
        "tasks": [
            "rotation", "rwc", {"name": "jigsaw_plus", "permutations": 10}, "classification", "colorization"
        ],
    },
    "dgr": {"schedule": "joint", "tasks": ["rotation", "classification"], "regularizer": "dgr"},
    "pta": {"schedule": "joint", "tasks": ["rotation", "classification"], "regularizer": {"name": "pta", "heads": 2}},
    "simclr": {"schedule": "joint", "tasks": ["rotation", {"name": "simclr", "batch_norm": True, "blur": 0.5}]},
    "msvl": {"encoder": "resnet26", "schedule": "round_robin", "sharing": {"name": "lasso", "weight": 0.01}},
}  # fmt: skip
# Times, and figures that jump where two numbers are nearly equal.
LEFT_OUT = ("seconds", "_second", "accuracy", "used_segments", "fusion_jump")
PINNED: dict[str, dict[str, float]] = {
    "tte": {
        "epoch": 2,
        "learning_rate": 0.05,
        "jigsaw.loss": 2.336730948,
        "jigsaw.regularizer": 0.0007117322559,
        "jigsaw.validation_loss": 2.293151428,
        "jigsaw.impact": 0.0001530778001,
        "colorization.loss": 5.68511461,
        "colorization.ab_rmse": 51.38080797,
        "colorization.regularizer": 0.001161718722,
        "colorization.validation_loss": 5.665655869,
        "colorization.validation_ab_rmse": 51.34424175,
        "colorization.impact": 9.003285486e-05,
        "segmentation.loss": 1.128466033,
        "segmentation.cut": 18.9831647,
        "segmentation.squared_error": 0.1536123424,
        "segmentation.regularizer": 8.328609508e-05,
        "segmentation.validation_loss": 1.126929324,
        "segmentation.validation_cut": 18.98335141,
        "segmentation.validation_squared_error": 0.1777617539,
        "segmentation.impact": 3.998214847e-05,
        "reconstruction.loss": 0.3911042184,
        "reconstruction.rmse": 0.2909277282,
        "reconstruction.regularizer": 2.416123179e-05,
        "reconstruction.validation_loss": 0.3543451085,
        "reconstruction.validation_rmse": 0.2808076407,
        "reconstruction.impact": 1.939703953e-05,
        "jigsaw.chance_loss": 2.302585093,
        "colorization.chance_loss": 5.061726064,
        "colorization.chance_ab_rmse": 50.10850518,
        "segmentation.chance_cut": 19,
        "reconstruction.chance_rmse": 0.25,
        "alpha.jigsaw": 1.101270054,
        "alpha.colorization": 1.09927815,
        "alpha.segmentation": 1.038275244,
        "alpha.reconstruction": 0.7611765514,
        "beta": 0.009940376556,
        "impact_spread": 0.6835822977,
        "conv1": 41.95769162,
        "bn1": 36.74212181,
        "layer1": 535.5387824,
        "layer2": 1324.490765,
        "layer3": 3431.531993,
        "jigsaw": 9334.100191,
        "colorization": 4786.865719,
        "segmentation": 5161.172679,
        "reconstruction": 3403.130474,
    },
    "sequential": {
        "epoch": 2,
        "learning_rate": 0.05,
        "colorization.loss": 5.603872955,
        "colorization.ab_rmse": 51.21818461,
        "colorization.validation_loss": 5.651351011,
        "colorization.validation_ab_rmse": 51.21714682,
        "colorization.impact": 0.0001892026883,
        "segmentation.loss": 1.129256507,
        "segmentation.cut": 18.98314681,
        "segmentation.squared_error": 0.1425470395,
        "segmentation.validation_loss": 1.114858802,
        "segmentation.validation_cut": 18.98340218,
        "segmentation.validation_squared_error": 0.1656886931,
        "segmentation.impact": 8.440121031e-05,
        "colorization.chance_loss": 5.061726064,
        "colorization.chance_ab_rmse": 50.10850518,
        "segmentation.chance_cut": 19,
        "alpha.colorization": 0.9876273144,
        "alpha.segmentation": 1.012372686,
        "beta": 0.001237268564,
        "impact_spread": 0.337204626,
        "conv1": 41.66640141,
        "bn1": 36.6943467,
        "layer1": 535.3215088,
        "layer2": 1323.885894,
        "layer3": 3430.523335,
        "colorization": 4741.48478,
        "segmentation": 5126.288705,
    },
    "average": {
        "epoch": 2,
        "learning_rate": 0.05,
        "rotation.loss": 1.636698761,
        "rotation.validation_loss": 1.091059493,
        "rotation.impact": 0.0006159052844,
        "reconstruction.loss": 0.3648548872,
        "reconstruction.rmse": 0.2942779825,
        "reconstruction.validation_loss": 0.3353390329,
        "reconstruction.validation_rmse": 0.2922749336,
        "reconstruction.impact": 8.001903145e-05,
        "rotation.chance_loss": 1.386294361,
        "reconstruction.chance_rmse": 0.25,
        "impact_spread": 0.8058782173,
        "conv1": 41.88278547,
        "bn1": 36.77947266,
        "layer1": 535.5899388,
        "layer2": 1324.891317,
        "layer3": 3431.918534,
        "rotation": 18.99304866,
        "reconstruction": 3368.825115,
    },
    "joint": {
        "epoch": 2,
        "learning_rate": 0.05,
        "rotation.loss": 1.349390728,
        "rotation.validation_loss": 1.298074712,
        "rwc.loss": 4.365670985,
        "rwc.validation_loss": 4.388499788,
        "jigsaw_plus.loss": 2.307631345,
        "jigsaw_plus.validation_loss": 2.279363911,
        "classification.loss": 0.7195950317,
        "classification.validation_loss": 0.7571405893,
        "colorization.loss": 5.550655386,
        "colorization.ab_rmse": 51.46672473,
        "colorization.validation_loss": 5.672309477,
        "colorization.validation_ab_rmse": 51.4529432,
        "rotation.chance_loss": 1.386294361,
        "rwc.chance_loss": 4.382026635,
        "jigsaw_plus.chance_loss": 2.302585093,
        "classification.chance_loss": 0.6931471806,
        "colorization.chance_loss": 5.061726064,
        "colorization.chance_ab_rmse": 50.10850518,
        "conv1": 41.80656689,
        "bn1": 36.73703571,
        "layer1": 535.1016622,
        "layer2": 1324.817606,
        "layer3": 3431.553378,
        "rotation": 17.99716507,
        "rwc": 6455.292813,
        "jigsaw_plus": 9326.833467,
        "classification": 5005.841347,
        "colorization": 4814.022412,
    },
    "dgr": {
        "epoch": 2,
        "learning_rate": 0.05,
        "rotation.loss": 1.610146703,
        "rotation.regularizer": 0.1800138659,
        "rotation.feature_norm": 62.56725188,
        "rotation.validation_loss": 1.187383364,
        "classification.loss": 0.7202475181,
        "classification.regularizer": 0.06899994981,
        "classification.feature_norm": 62.55950261,
        "classification.validation_loss": 0.7091334865,
        "rotation.chance_loss": 1.386294361,
        "classification.chance_loss": 0.6931471806,
        "conv1": 42.47911337,
        "bn1": 37.17966923,
        "layer1": 537.2698158,
        "layer2": 1329.759359,
        "layer3": 3435.143159,
        "rotation": 18.86126868,
        "classification": 4970.175366,
    },
    "pta": {
        "epoch": 2,
        "learning_rate": 0.05,
        "rotation.loss": 1.557265716,
        "rotation.regularizer": 0.04707753262,
        "rotation.validation_loss": 1.299754517,
        "classification.loss": 0.7153333353,
        "classification.regularizer": -0.002722154033,
        "classification.validation_loss": 0.7017718868,
        "rotation.chance_loss": 1.386294361,
        "classification.chance_loss": 0.6931471806,
        "conv1": 42.39933089,
        "bn1": 36.95835515,
        "layer1": 537.0178582,
        "layer2": 1327.551419,
        "layer3": 3433.782695,
        "rotation": 18.04842162,
        "classification": 4992.564935,
    },
    "simclr": {
        "epoch": 2,
        "learning_rate": 0.05,
        "rotation.loss": 1.50600431,
        "rotation.validation_loss": 1.194421125,
        "simclr.loss": 2.28231046,
        "simclr.validation_loss": 1.923839956,
        "rotation.chance_loss": 1.386294361,
        "simclr.chance_loss": 1.945910149,
        "conv1": 45.86992141,
        "bn1": 42.01794661,
        "layer1": 552.3304917,
        "layer2": 1358.629059,
        "layer3": 3467.664283,
        "rotation": 18.17187576,
        "simclr": 5066.666846,
    },
    "msvl": {
        "epoch": 2,
        "learning_rate": 0.05,
        "jigsaw.loss": 2.758393927,
        "jigsaw.validation_loss": 2.516346453,
        "colorization.loss": 5.676522229,
        "colorization.ab_rmse": 51.55161221,
        "colorization.validation_loss": 5.65878007,
        "colorization.validation_ab_rmse": 51.32884594,
        "segmentation.loss": 1.126209938,
        "segmentation.cut": 18.98018542,
        "segmentation.squared_error": 0.155661927,
        "segmentation.validation_loss": 1.125362279,
        "segmentation.validation_cut": 18.97973569,
        "segmentation.validation_squared_error": 0.1763754947,
        "reconstruction.loss": 0.3804842019,
        "reconstruction.rmse": 0.2883255974,
        "reconstruction.validation_loss": 0.3451177043,
        "reconstruction.validation_rmse": 0.2910577022,
        "jigsaw.chance_loss": 2.302585093,
        "colorization.chance_loss": 5.061726064,
        "colorization.chance_ab_rmse": 50.10850518,
        "segmentation.chance_cut": 19,
        "reconstruction.chance_rmse": 0.25,
        "share.jigsaw.stage3.unit1": 0.539249491,
        "share.jigsaw.stage3.unit2": 0.5082477622,
        "share.jigsaw.stage3.unit3": 0.4850657239,
        "share.jigsaw.stage3": 0.4643333309,
        "share.colorization.stage3.unit1": 0.5007732816,
        "share.colorization.stage3.unit2": 0.5023967615,
        "share.colorization.stage3.unit3": 0.4995060468,
        "share.colorization.stage3": 0.4973100881,
        "share.segmentation.stage3.unit1": 0.5005524938,
        "share.segmentation.stage3.unit2": 0.4997289787,
        "share.segmentation.stage3.unit3": 0.5001424209,
        "share.segmentation.stage3": 0.4995755274,
        "share.reconstruction.stage3.unit1": 0.5006349974,
        "share.reconstruction.stage3.unit2": 0.4998139354,
        "share.reconstruction.stage3.unit3": 0.4997176907,
        "share.reconstruction.stage3": 0.499832831,
        "conv1": 43.96120149,
        "bn1": 38.63935112,
        "layer1": 2341.981458,
        "layer2": 6043.366681,
        "layer3": 15791.21864,
        "jigsaw": 9309.313983,
        "colorization": 4868.819114,
        "segmentation": 5251.326759,
        "reconstruction": 3482.008826,
    },
}


def make_dataset() -> Dataset:
    # Of whole numbers: a byte that comes from rounding a fraction is not the same everywhere.
    draw = torch.Generator().manual_seed(0)
    coarse = torch.randint(30, 226, (24, 3, 8, 8), generator=draw).repeat_interleave(4, 2).repeat_interleave(4, 3)
    images = (coarse + torch.randint(-30, 30, (24, 3, 32, 32), generator=draw)).byte()
    labels = torch.arange(24) % 2
    splits = {"train": Split(images[:16], labels[:16]), "test": Split(images[16:], labels[16:])}
    return Dataset(("a", "b"), 32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), splits)


def make_source(**parts: Any) -> Source:
    return Source(
        dataset="cifar10",
        encoder=parts.pop("encoder", "resnet8"),
        tasks=parts.pop("tasks", PAPER),
        epochs=2,
        iterations=2 * len(parts.get("tasks", PAPER)),
        batch_size=4,
        statistics_batches=2,
        optimizer={"learning_rate": 0.05, "schedule": "constant"},
        **parts,
    )


@pytest.mark.parametrize("method", METHODS)
def test_results_change_only_with_the_version(method: str, cpu: Compute) -> None:
    """Other processors, libraries and threads changed these numbers by at most 2e-12 of them."""
    assert PretrainSource.version == 2, "pin the new version's numbers"
    source, dataset = make_source(**METHODS[method]), make_dataset()
    labels = {
        task.name: registry.load("task", task.name).prepare(task.at(32), 32, dataset, torch.Generator().manual_seed(0))
        for task in source.tasks
    }
    result = pretrain(source, dataset, labels, cpu, 0, None)
    found = {key: value for key, value in result.metrics.items() if not key.endswith(LEFT_OUT)}
    found |= pins.projections(result.encoder.state_dict())
    found |= pins.projections(result.heads.state_dict())
    pins.compare(found, PINNED[method], "PretrainSource")
