"""How far an epoch moves the encoder: TTE against joint training on the same batches, to first order."""

from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tessera import registry
from tessera.data.store import Dataset, Split
from tessera.multitask.epochs import Training
from tessera.multitask.fusion.states import copy_state
from tessera.multitask.snapshots import Snapshots
from tessera.multitask.source import Source
from tessera.training.compute import Compute

TASKS = ("rotation", "reconstruction", "colorization", "segmentation", "jigsaw")
CPU = torch.device("cpu")


def displacement(tasks: tuple[str, ...], **parts: Any) -> Tensor:
    """Change of every parameter of the encoder by one epoch of small steps, flat, float64."""
    generator = torch.Generator().manual_seed(0)
    images = (F.interpolate(torch.rand(24, 3, 8, 8, generator=generator), size=32, mode="bilinear") * 255).byte()
    labels = torch.arange(24) % 2
    splits = {"train": Split(images[:16], labels[:16]), "test": Split(images[16:], labels[16:])}
    dataset = Dataset(("a", "b"), 32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), splits)
    source = Source(
        dataset="cifar10",
        encoder="resnet8",
        tasks=[{"name": "jigsaw", "permutations": 10} if name == "jigsaw" else name for name in tasks],
        epochs=1,
        iterations=2 * len(tasks),
        batch_size=8,
        # Small enough for first order, large enough for float32: weights move by a ten-thousandth or so.
        optimizer={
            "learning_rate": 1e-4,
            "momentum": 0.9,
            "weight_decay": 0.0,
            "clip_norm": None,
            "schedule": "constant",
        },
        **parts,
    )
    prepared = {
        task.name: registry.load("task", task.name).prepare(task.at(32), 32, dataset, torch.Generator().manual_seed(0))
        for task in source.tasks
    }
    training = Training(source, dataset, prepared, Compute(CPU, "float32"), 0, Snapshots(None))
    before = copy_state(training.learner.encoder)
    training.epoch(0)
    return torch.cat([
        (parameter.detach().double() - before[name].double()).flatten()
        for name, parameter in training.learner.encoder.named_parameters()
    ])  # fmt: skip


@cache
def joint_displacement(number: int) -> Tensor:
    """Of the first tasks, all in every step."""
    return displacement(TASKS[:number], schedule="joint")


def share(moved: Tensor, joint: Tensor) -> float:
    """Length of a displacement along that of joint training, which it must point along."""
    assert F.cosine_similarity(moved, joint, dim=0) > 0.99
    return float(moved @ joint / (joint @ joint))


@pytest.mark.parametrize("number", [1, 2, 3, *(pytest.param(each, marks=pytest.mark.slow) for each in (4, 5))])
def test_tte_moves_the_encoder_as_far_as_its_tasks_do_together(number: int) -> None:
    tasks = TASKS[:number]
    joint = joint_displacement(number)
    assert share(displacement(tasks, schedule="branches", fusion="tte"), joint) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("schedule", "fusion", "expected"),
    [
        ("branches", {"name": "tte", "alpha_total": 1.0}, 0.25),
        ("branches", {"name": "tte", "layers": "all"}, 1.0),
        ("sequential", {"name": "tte"}, 1.0),
        ("sequential", {"name": "tte", "rest": "last"}, 1.0),
        ("sequential", {"name": "tte", "sequential_delta": "cumulative"}, 2.5),
    ],
)
def test_other_readings(schedule: str, fusion: dict[str, Any], expected: float) -> None:
    joint = joint_displacement(4)
    moved = displacement(TASKS[:4], schedule=schedule, fusion=fusion)
    if expected == 2.5:  # earlier tasks count more often: not the direction of joint training, and 2.5 is its mean
        assert 1.5 < moved.norm() / joint.norm() < 4.0
    else:
        assert share(moved, joint) == pytest.approx(expected, abs=0.01)
