"""Every entry of the families of multi-task training keeps its family's contract."""

import inspect
import math
from pathlib import Path
from typing import Any

import multitask_stand_ins
import pytest
import torch
from multitask_stand_ins import (
    BRIGHTNESS,
    CONTRAST,
    LABELLED,
    SHARED,
    TURN,
    UNIT_NORMS,
    UNITS,
    TinyEncoder,
    UnitsEncoder,
    pass_of,
    tiny_dataset,
    tiny_source,
    two_labels,
)
from pydantic import ValidationError
from torch import nn

from tessera import registry
from tessera.errors import TesseraError
from tessera.multitask.balancing.base import Balancing
from tessera.multitask.epochs import Pretrained
from tessera.multitask.fusion.base import Fusion
from tessera.multitask.fusion.options import FusionOptions
from tessera.multitask.learner import Learner
from tessera.multitask.pretrain import pretrain
from tessera.multitask.regularizers.base import Regularizer
from tessera.multitask.schedule.base import Schedule
from tessera.multitask.schedule.options import ScheduleOptions
from tessera.multitask.sharing.base import Sharing
from tessera.parts import models_in
from tessera.training.compute import Compute

FAMILIES: dict[str, type] = {
    "sharing": Sharing,
    "schedule": Schedule,
    "balancing": Balancing,
    "regularizer": Regularizer,
    "fusion": Fusion,
}
ENTRIES = [(family, name) for family in FAMILIES for name in registry.parts(family)]
COMPUTE = Compute(torch.device("cpu"), "float32")


def compares(balancing: str) -> str:
    word: str = registry.find("balancing", balancing).options().compares  # type: ignore[attr-defined]
    return word


def source_of(schedule: str, fusion: str, **settings: Any) -> Any:
    """A source of these parts, or None where the study language refuses them."""
    try:
        source = tiny_source(schedule=schedule, fusion=fusion, epochs=2, **settings)
    except ValidationError:
        return None
    return None if any(line for _, model in models_in(source) for line in model.clashes(source)) else source


@pytest.mark.parametrize(("family", "name"), ENTRIES)
def test_entry_is_its_family_s_with_described_options_and_a_docstring(family: str, name: str) -> None:
    part, cls = registry.find(family, name), registry.load(family, name)
    assert issubclass(cls, FAMILIES[family])
    assert not inspect.isabstract(cls)
    assert inspect.getdoc(cls) != inspect.getdoc(FAMILIES[family])
    assert part.options().name == name
    assert all(field.description for key, field in part.options.model_fields.items() if key != "name")
    bases = {"schedule": ScheduleOptions, "fusion": FusionOptions}
    assert issubclass(part.options, bases.get(family, registry.Options))


@pytest.mark.parametrize("name", registry.parts("balancing"))
def test_any_balancing_leaves_one_task_as_it_is_and_moves_several(name: str) -> None:
    """What a balancing weighs is tested in tests/multitask/balancing."""
    plain, alone = (
        pretrain(tiny_source(balancing=way, tasks=[TURN]), tiny_dataset(), {}, COMPUTE, 0, None)
        for way in ("equal", name)
    )
    assert all(map(math.isfinite, alone.metrics.values()))
    if name not in ("uncertainty", "imtl"):  # which learn the scale of each loss
        states = plain.encoder.state_dict(), alone.encoder.state_dict()
        assert all(torch.equal(one, states[1][key]) for key, one in states[0].items())
    both = pretrain(tiny_source(balancing=name, tasks=[TURN, BRIGHTNESS]), tiny_dataset(), {}, COMPUTE, 0, None)
    weights = {key for key in both.history[0] if key.startswith("weight.")}
    assert len(weights) in (0, 2)


@pytest.mark.parametrize("name", registry.parts("balancing"))
@pytest.mark.parametrize("schedule", registry.parts("schedule"))
def test_every_balancing_trains_under_every_schedule_or_is_refused_in_the_plan(schedule: str, name: str) -> None:
    source = source_of(schedule, "average" if schedule == "branches" else "none", balancing=name)
    looks_ahead = registry.find("balancing", name).options.model_construct().looks_ahead
    assert (source is None) == ((compares(name) != "nothing" or looks_ahead) and schedule != "joint")
    if source is not None:
        result = pretrain(source, tiny_dataset(), {}, COMPUTE, 0, None)
        assert all(tensor.isfinite().all() for tensor in result.encoder.state_dict().values())
        assert len({tuple(row) for row in result.history}) == 1  # the same columns in every epoch, weights among them


@pytest.mark.parametrize("name", registry.parts("balancing"))
def test_every_balancing_keeps_to_the_clipped_norm_and_is_near_itself_under_bfloat16(name: str) -> None:
    source = tiny_source(balancing=name, optimizer={"learning_rate": 0.05, "clip_norm": 0.01}, epochs=2)
    exact, rough = (
        pretrain(source, tiny_dataset(), {}, Compute(torch.device("cpu"), precision), 0, None)
        for precision in ("float32", "bfloat16")
    )
    for key, value in exact.history[-1].items():
        if key.endswith("loss") or key.startswith("weight."):
            assert float(rough.history[-1][key]) == pytest.approx(float(value), rel=0.1)
    start = pretrain(tiny_source(balancing=name, epochs=0), tiny_dataset(), {}, COMPUTE, 0, None).encoder
    moved = [(one - other).norm() for one, other in zip(exact.encoder.parameters(), start.parameters(), strict=True)]
    # No step is longer than rate times norm / (1 - momentum), and there are six.
    assert torch.stack(moved).norm() <= 6 * 0.05 * 0.01 / (1 - 0.9) * 1.05


@pytest.mark.parametrize("name", [name for name in registry.parts("balancing") if compares(name) != "nothing"])
def test_every_balancing_of_gradients_takes_those_of_a_shared_map_too(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finite, near itself under bfloat16, and with the same bytes after an interruption."""
    source = tiny_source(tasks=LABELLED, schedule=SHARED, balancing={"name": name, "of": "features"}, epochs=2)

    def run(precision: str = "float32", resume: Path | None = None) -> Pretrained:
        compute = Compute(torch.device("cpu"), precision)
        return pretrain(source, two_labels(), {}, compute, 0, resume)

    whole, rough, take = run(), run("bfloat16"), Learner.take
    for key, value in whole.history[-1].items():
        if key.endswith("loss") or key.startswith("weight."):
            # A weight over a length is as rough as the gradient's length.
            near = pytest.approx(float(value), rel=0.1 if key.endswith("loss") else 0.3, abs=0.02)
            assert float(rough.history[-1][key]) == near

    def fails(self: Learner, turn: Any, epoch: int, *others: Any) -> None:
        take(self, turn, epoch, *others)
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "take", fails)
        with pytest.raises(KeyboardInterrupt):
            run(resume=tmp_path)
    resumed = run(resume=tmp_path)
    for key, tensor in whole.encoder.state_dict().items():
        assert tensor.isfinite().all()
        assert torch.equal(tensor, resumed.encoder.state_dict()[key])


@pytest.mark.parametrize("value", [0.0, math.inf])
@pytest.mark.parametrize("name", [name for name in registry.parts("balancing") if compares(name) != "nothing"])
def test_a_gradient_without_a_weight_ends_with_task_epoch_and_balancing(
    name: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a task whose loss is multiplied by 0 or infinity from the second epoch on; 0 harms only who divides by it."""
    loss, feeds, begun = multitask_stand_ins.Brightness.loss, Learner.feeds, list[int]()

    def begins(self: Learner, epoch: int, turns: Any) -> Any:
        begun.append(epoch)
        return feeds(self, epoch, turns)

    def weighed(self: Any, prediction: Any, labels: Any) -> torch.Tensor:
        return loss(self, prediction, labels) * (value if begun[-1] == 1 else 1.0)

    monkeypatch.setattr(Learner, "feeds", begins)
    monkeypatch.setattr(multitask_stand_ins.Brightness, "loss", weighed)
    source = tiny_source(balancing=name, tasks=[TURN, BRIGHTNESS, CONTRAST], epochs=2)
    refused = value > 0 or name in ("imtl", "nash_mtl", "fairgrad")
    if not refused:
        encoder = pretrain(source, tiny_dataset(), {}, COMPUTE, 0, None).encoder
        assert all(tensor.isfinite().all() for tensor in encoder.state_dict().values())
        return
    with pytest.raises(TesseraError) as caught:
        pretrain(source, tiny_dataset(), {}, COMPUTE, 0, None)
    message = str(caught.value)
    assert f"in epoch 2, under balancing `{name}`: the gradient of task `brightness` is " in message
    assert ("learning_rate" in message) == (value > 0)
    assert ("any label" in message) == (value == 0)
    assert "\n" not in message


@pytest.mark.parametrize("cls", [TinyEncoder, UnitsEncoder])
@pytest.mark.parametrize("name", registry.parts("sharing"))
def test_sharing_gives_features_that_reach_the_encoder(name: str, cls: type[TinyEncoder]) -> None:
    encoder = cls()
    sharing = registry.load("sharing", name)(registry.find("sharing", name).options(), encoder, ["a", "b"], cls)
    features = sharing.features("b", sharing.maps(encoder, torch.randn(4, 3, 16, 16), ["b"]))
    assert features.shape[:2] == (4, encoder.num_features)
    features.sum().backward()
    assert encoder.conv1.weight.grad is not None
    assert not any(parameter is other for parameter in sharing.parameters() for other in encoder.parameters())


@pytest.mark.parametrize("name", registry.parts("sharing"))
def test_sharing_groups_its_parameters_and_its_penalty_and_figures_are_numbers(name: str) -> None:
    encoder = UnitsEncoder()
    sharing = registry.load("sharing", name)(
        registry.find("sharing", name).options(), encoder, ["a", "b"], UnitsEncoder
    )
    grouped = [
        p for modules, factor in sharing.groups() for module in modules for p in module.parameters() if factor > 0
    ]
    assert sorted(map(id, grouped)) == sorted(map(id, sharing.parameters()))
    for task in ("a", "b"):
        if (penalty := sharing.penalty(task)) is not None:
            assert (penalty.shape, penalty.dtype) == ((), torch.float32)
            assert penalty.isfinite()
    assert all(isinstance(value, float) for value in sharing.figures().values())
    shared = sharing.shared_parameters()
    assert set(map(id, shared)) <= set(map(id, sharing.parameters()))
    assert len(set(map(id, shared))) == len(shared)
    features = sharing.eval().features("a", sharing.maps(encoder.eval(), images := torch.randn(2, 3, 16, 16), ["a"]))
    other = registry.load("sharing", name)(sharing.options, encoder, ["a", "b"], UnitsEncoder).eval()
    other.load_state_dict(sharing.state_dict())
    assert torch.equal(other.features("a", other.maps(encoder, images, ["a"])), features)


@pytest.mark.parametrize("name", registry.parts("regularizer"))
def test_regularizer_is_a_finite_scalar_or_nothing(name: str) -> None:
    encoder, images = TinyEncoder(), torch.randn(4, 3, 16, 16)
    regularizer = registry.load("regularizer", name)(
        registry.find("regularizer", name).options(), 6, {"a": lambda: nn.Conv2d(6, 2, 1)}
    )
    for epoch in range(2):
        regularizer.begin_epoch(encoder, epoch)
        value = regularizer(pass_of(encoder(images), by_encoder=lambda other: other(images)))
        if value is not None:
            assert (value.shape, value.dtype) == ((), torch.float32)
            assert value.isfinite()


WEIGHED: dict[str, dict[str, Any]] = {
    "own": {},
    "own, by loss": {"balancing": "uncertainty"},
    "own, by gradient": {"balancing": UNIT_NORMS},
    "shared": {"schedule": SHARED, "tasks": LABELLED, "balancing": "dwa"},
    "shared, by gradient": {"schedule": SHARED, "tasks": LABELLED, "balancing": UNIT_NORMS},
    "shared, by features": {
        "schedule": SHARED,
        "tasks": LABELLED,
        "balancing": {"name": UNIT_NORMS, "of": "features"},
    },
    "lasso": {"schedule": SHARED, "tasks": LABELLED, "sharing": "lasso", "encoder": UNITS},
    "sequential": {"schedule": {"name": "sequential", "reset_optimizer": False}},
    "round_robin": {"schedule": "round_robin"},
    "branches": {"schedule": "branches", "fusion": {"name": "tte", "window": 2}},
}
QUICK = ("own, by gradient", "shared, by features", "branches")


@pytest.mark.parametrize("name", [name for name in registry.parts("regularizer") if name != "none"])
@pytest.mark.parametrize("how", [how if how in QUICK else pytest.param(how, marks=pytest.mark.slow) for how in WEIGHED])
def test_every_regularizer_ends_with_the_same_bytes_after_a_kill(
    how: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under every schedule, with every kind of balancing; in bfloat16, clipped, and saved with the training."""
    compute = Compute(torch.device("cpu"), "bfloat16")
    source = tiny_source(
        **{"epochs": 2, "iterations": 4, "optimizer": {"learning_rate": 0.05, "clip_norm": 1.0}, **WEIGHED[how]},
        regularizer=name,
    )

    def run(resume: Path | None) -> Any:
        return pretrain(source, two_labels(), {}, compute, 0, resume)

    whole = run(None)
    assert all(math.isfinite(value) for value in whole.metrics.values())
    recorded = [f"{task.key}.regularizer" in whole.history[0] for task in source.tasks]
    assert all(recorded) if name != "sam" else not any(recorded)  # it adds nothing to a loss
    cls = registry.load("regularizer", name)

    def killed(self: Regularizer, encoder: Any, epoch: int) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cls, "begin_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    resumed = run(tmp_path)
    for part in ("encoder", "heads", "sharing"):
        one, other = (getattr(result, part).state_dict() for result in (whole, resumed))
        assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())
    timeless = [[{**row, "seconds": 0} for row in result.history] for result in (whole, resumed)]
    assert timeless[0] == timeless[1]
    assert len({tuple(row) for row in whole.history}) == 1  # the same columns in every epoch


@pytest.mark.parametrize("sharing", registry.parts("sharing"))
@pytest.mark.parametrize("schedule", registry.parts("schedule"))
def test_every_sharing_trains_under_every_schedule(sharing: str, schedule: str) -> None:
    fusion = "average" if schedule == "branches" else "none"
    source = source_of(schedule, fusion, sharing=sharing, encoder=UNITS)
    one_encoder = registry.find("sharing", sharing).options.one_encoder  # type: ignore[attr-defined]
    assert (source is None) == (schedule == "branches" and not one_encoder)
    if source is not None:
        result = pretrain(source, tiny_dataset(), {}, COMPUTE, 0, None)
        assert all(tensor.isfinite().all() for tensor in result.encoder.state_dict().values())
        assert set(result.encoder.state_dict()) == set(UnitsEncoder().state_dict())
        assert len({tuple(row) for row in result.history}) == 1


@pytest.mark.parametrize("schedule", registry.parts("schedule"))
@pytest.mark.parametrize("fusion", registry.parts("fusion"))
def test_every_schedule_trains_with_every_fusion_or_is_refused_in_the_plan(schedule: str, fusion: str) -> None:
    source = source_of(schedule, fusion, tasks=[TURN, BRIGHTNESS, CONTRAST], iterations=6)
    refused = {("branches", "none"), ("joint", "tte"), ("round_robin", "tte")}
    assert (source is None) == ((schedule, fusion) in refused)
    if source is not None:
        one, other = (pretrain(source, tiny_dataset(), {}, COMPUTE, 0, None) for _ in range(2))
        for name, tensor in one.encoder.state_dict().items():
            assert tensor.isfinite().all()
            assert torch.equal(tensor, other.encoder.state_dict()[name])  # a seed repeats exactly
