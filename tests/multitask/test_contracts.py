"""Every entry of the families of multi-task training keeps its family's contract."""

import inspect
from typing import Any

import pytest
import torch
from multitask_stand_ins import BRIGHTNESS, CONTRAST, TURN, TinyEncoder, tiny_dataset, tiny_source
from pydantic import ValidationError

from tessera import registry
from tessera.multitask.balancing.base import Balancing
from tessera.multitask.fusion.base import Fusion
from tessera.multitask.fusion.options import FusionOptions
from tessera.multitask.pretrain import pretrain
from tessera.multitask.regularizers.base import Regularizer
from tessera.multitask.schedule.base import Schedule
from tessera.multitask.schedule.options import ScheduleOptions
from tessera.multitask.sharing.base import Sharing
from tessera.training import Compute

FAMILIES: dict[str, type] = {
    "sharing": Sharing,
    "schedule": Schedule,
    "balancing": Balancing,
    "regularizer": Regularizer,
    "fusion": Fusion,
}
ENTRIES = [(family, name) for family in FAMILIES for name in registry.parts(family)]
COMPUTE = Compute(torch.device("cpu"), "float32")


def source_of(schedule: str, fusion: str, **settings: Any) -> Any:
    """A source of these parts, or None where the study language refuses them."""
    try:
        return tiny_source(schedule=schedule, fusion=fusion, epochs=2, **settings)
    except ValidationError:
        return None


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
def test_balancing_leaves_gradients_of_shared_and_own_parameters_and_calls_each_loss_once(name: str) -> None:
    shared = torch.nn.Parameter(torch.randn(3))
    own = {task: torch.nn.Parameter(torch.randn(3)) for task in ("a", "b")}
    calls = []

    def loss_of(task: str) -> Any:
        def loss() -> torch.Tensor:
            calls.append(task)
            return (shared * own[task]).sum() ** 2

        return loss

    balancing = registry.load("balancing", name)(registry.find("balancing", name).options(), ["a", "b"])
    balancing.backward({task: loss_of(task) for task in own}, [shared])
    balancing.end_epoch({"a": 1.0, "b": 2.0})
    assert calls == ["a", "b"]
    for parameter in (shared, *own.values()):
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("name", registry.parts("sharing"))
def test_sharing_gives_features_that_reach_the_encoder(name: str) -> None:
    encoder = TinyEncoder()
    sharing = registry.load("sharing", name)(registry.find("sharing", name).options(), encoder, ["a", "b"])
    features = sharing.features(encoder, "b", torch.randn(4, 3, 16, 16))
    assert features.shape[:2] == (4, encoder.num_features)
    features.sum().backward()
    assert encoder.conv1.weight.grad is not None
    assert not any(parameter is other for parameter in sharing.parameters() for other in encoder.parameters())


@pytest.mark.parametrize("name", registry.parts("regularizer"))
def test_regularizer_is_a_finite_scalar_or_nothing(name: str) -> None:
    encoder, images = TinyEncoder(), torch.randn(4, 3, 16, 16)
    regularizer = registry.load("regularizer", name)(registry.find("regularizer", name).options(), 6)
    for epoch in range(2):
        regularizer.begin_epoch(encoder, epoch)
        value = regularizer(encoder(images), lambda other: other(images))
        if value is not None:
            assert (value.shape, value.dtype) == ((), torch.float32)
            assert value.isfinite()


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
