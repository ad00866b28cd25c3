"""A task whose loss compares the images of a batch: alone, and beside others under every kind of part."""

import math
from typing import Any

import pytest
import torch
from multitask_stand_ins import TURN, UNITS, tiny_dataset, tiny_source
from torch import Tensor, nn

from tessera.multitask.fusion.states import copy_state
from tessera.multitask.learner import Learner
from tessera.multitask.pretrain import pretrain
from tessera.multitask.previews import make_previews
from tessera.training.compute import Compute

COMPUTE = Compute(torch.device("cpu"), "float32")
SIMCLR = {"name": "simclr", "hidden": [8], "dim": 4}
STAGED = {"encoder": "resnet8", "iterations": 2}
METHODS: dict[str, dict[str, Any]] = {
    "alone": {"tasks": [SIMCLR]},
    "tte": {"schedule": "branches", "fusion": "tte", "regularizer": "divergence"},
    "msvl": {"schedule": "round_robin", "sharing": "lasso", "encoder": UNITS},
    "sequential": {"schedule": "sequential"},
    **{name: {"balancing": name} for name in ("mgda", "pcgrad", "gradnorm", "auto_lambda", "uncertainty")},
    **{name: {"regularizer": name} for name in ("dgr", "pta", "sam")},
    **{name: {"sharing": name, **STAGED} for name in ("mtan", "cross_stitch", "model_patch")},
    "gray": {"harmonize": True, "tasks": [SIMCLR | {"batch_norm": True}, TURN]},
}


@pytest.mark.parametrize("method", METHODS)
def test_it_is_trained_under_every_kind_of_part(method: str) -> None:
    source = tiny_source(**{"tasks": [SIMCLR, TURN], "epochs": 2, **METHODS[method]})
    before = copy_state(Learner(source, tiny_dataset(), {}, COMPUTE, 0).encoder)
    trained = pretrain(source, tiny_dataset(), {}, COMPUTE, 0, None)
    row = trained.history[-1]
    for figure in ("loss", "accuracy", "validation_loss", "validation_accuracy"):
        assert math.isfinite(row[f"simclr.{figure}"]), figure
    assert row["simclr.chance_loss"] == pytest.approx(math.log(15))  # of 8 images
    assert row["simclr.chance_accuracy"] == pytest.approx(1 / 15)
    assert any(not torch.equal(value, before[name]) for name, value in trained.encoder.state_dict().items())


def test_both_views_of_all_images_go_through_the_encoder_together() -> None:
    sizes = list[int]()

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        sizes.append(len(inputs[0]))

    learner = Learner(tiny_source(tasks=[SIMCLR]), tiny_dataset(), {}, COMPUTE, 0)
    with learner.encoder.conv1.register_forward_hook(note):  # type: ignore[operator]
        make_previews(learner)
    assert sizes == [16]


def test_chance_is_that_of_a_held_out_batch() -> None:
    learner = Learner(tiny_source(tasks=[SIMCLR]), tiny_dataset(num_test=5), {}, COMPUTE, 0)
    assert learner.held_out_batch == 5
    assert learner.chance["simclr.chance_accuracy"] == pytest.approx(1 / 9)


def test_held_out_images_are_told_apart_beyond_chance() -> None:
    mild = {"name": "simclr", "hidden": [64], "dim": 32, "color": 0.0, "gray": 0.0, "least_area": 0.5}
    source = tiny_source(tasks=[mild], epochs=4, iterations=12, optimizer={"learning_rate": 0.05})
    row = pretrain(source, tiny_dataset(), {}, COMPUTE, 0, None).history[-1]
    assert row["simclr.validation_accuracy"] > 3 * row["simclr.chance_accuracy"]
    assert row["simclr.validation_loss"] < 0.9 * row["simclr.chance_loss"]
