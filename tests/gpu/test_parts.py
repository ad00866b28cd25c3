"""Every part, one step of it on the device: finite, near a processor's, and nothing of it waits for the device."""

from typing import Any

import gpu_cases
import pytest
import torch
from gpu_cases import CPU, LABELLED, OPTIONS, PX, SHARED, dataset, prepared, source, tensors
from torch.testing import assert_close

from encoders import BY_NAME
from tessera import registry
from tessera.multitask.learner import Learner
from tessera.multitask.pretrain import pretrain
from tessera.parts import models_in
from tessera.tasks.base import ImageStatistics, TaskBatch
from tessera.training.compute import Compute
from tessera.training.optimizer import make_optimizer
from tessera.training.randomness import generator_of

TASKS = sorted(registry.parts("task"))
BATCH = 8


def step_of(name: str, compute: Compute, unread: Any = None) -> tuple[TaskBatch, Any, list[torch.Tensor]]:
    """A batch of a task, its prediction through an encoder, and loss and metrics; gradients are left."""
    data = dataset(compute.device)
    part = registry.find("task", name).options(name=name, **OPTIONS.get(name, {}))
    cls = registry.load("task", name)
    made = cls.prepare(part.at(PX), PX, data, generator_of(0))  # type: ignore[attr-defined]
    task = cls(part.at(PX), ImageStatistics.of(data), made, compute.device)  # type: ignore[attr-defined]
    torch.manual_seed(0)
    encoder = compute.place(
        registry.load("encoder", "resnet8")(registry.find("encoder", "resnet8").options(name="resnet8"))
    )
    head = compute.place(task.build_head(encoder.num_features))
    split = data.train.subset(torch.arange(BATCH))
    labels = task.labels_of(split)
    task.make_batch(split.images, labels, generator_of(9))  # what is made once is made

    def step() -> tuple[TaskBatch, Any, list[torch.Tensor]]:
        batch = task.make_batch(split.images, labels, generator_of(1))
        with compute.autocast():
            prediction = head(encoder(batch.inputs.contiguous(memory_format=torch.channels_last)))
        loss = task.loss(prediction, batch.labels)
        loss.backward()
        with torch.no_grad():
            return batch, prediction, [loss, *task.metrics(prediction, batch.labels).values()]

    if unread is None:
        return step()
    step()
    with unread():
        return step()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", TASKS)
def test_a_task_s_step_is_near_a_processor_s(name: str, precision: str, device: torch.device) -> None:
    batch, _, found = step_of(name, Compute(device, precision))
    right, _, expected = step_of(name, Compute(CPU, "float32"))
    for tensor, other in zip(tensors(tuple(batch)), tensors(tuple(right)), strict=True):
        assert tensor.device.type == device.type
        assert_close(tensor.cpu(), other, rtol=1e-3, atol=1e-3)  # drawn on a processor, whatever the device
    assert all(value.isfinite() for value in found)
    assert found[0].dtype == torch.float32
    near = {"rtol": 1e-3, "atol": 1e-4} if precision == "float32" else {"rtol": 0.1, "atol": 0.05}
    assert_close(found[0].cpu(), expected[0], **near)


@pytest.mark.usefixtures("repeatable")  # the kernels that jobs use
@pytest.mark.parametrize("name", TASKS)
def test_a_task_s_step_waits_for_nothing(name: str, compute: Compute, unread: Any) -> None:
    step_of(name, compute, unread)


@pytest.mark.parametrize("name", BY_NAME)
def test_an_encoder_s_pass_there_and_back_is_near_a_processor_s(name: str, device: torch.device, unread: Any) -> None:
    options = registry.find("encoder", name).options(name=name)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    found = []
    for where in (CPU, device):
        torch.manual_seed(0)
        compute = Compute(where, "float32")
        encoder = compute.place(registry.load("encoder", name)(options)).eval()
        inputs = images.to(where).contiguous(memory_format=torch.channels_last)
        encoder(inputs).square().mean().backward()
        encoder.zero_grad()
        with unread():
            z = encoder(inputs)
            z.square().mean().backward()
        first = next(p for p in encoder.parameters() if p.grad is not None)
        found.append((z.detach().cpu(), first.grad.cpu()))
    scale = found[0][0].abs().max().item()
    assert_close(found[1][0], found[0][0], rtol=1e-2, atol=1e-3 * scale)
    gradient = found[0][1].abs().max().item()
    assert_close(found[1][1], found[0][1], rtol=5e-2, atol=1e-2 * gradient)


def may_be(**settings: Any) -> Any:
    """A source of these parts, or None where the study language refuses them together."""
    try:
        made = source(**settings)
    except ValueError:
        return None
    return None if any(line for _, model in models_in(made) for line in model.clashes(made)) else made


PARTS: list[Any] = [
    *((family, name) for family in ("schedule", "sharing", "regularizer") for name in sorted(registry.parts(family))),
    *(("balancing", name) for name in sorted(registry.parts("balancing"))),
]
HOW: dict[str, dict[str, Any]] = {"own inputs": {}, "a shared input": {**SHARED, "tasks": LABELLED}}


def fitting(family: str, name: str, how: str) -> Any:
    """A source with the part, under the first schedule that takes it; None where none does."""
    settings = {**HOW[how], family: name}
    others = [{}] if "schedule" in settings else [{"schedule": "joint"}, {"schedule": "round_robin"}]
    branches = [{"fusion": "average"}] if settings.get("schedule") == "branches" else [{}]
    found = (may_be(**settings, **other, **more) for other in others for more in branches)
    return next((one for one in found if one is not None), None)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("family", "name"), PARTS)
def test_a_pretraining_with_the_part_is_near_a_processor_s(family: str, name: str, how: str, compute: Compute) -> None:
    asked = None if family == "schedule" and how != "own inputs" else fitting(family, name, how)
    if asked is None:
        return  # the study language refuses it there
    found, expected = (
        pretrain(asked, data := dataset(where.device), prepared(asked, data), where, 0, None)
        for where in (compute, Compute(CPU, "float32"))
    )
    assert all(tensor.isfinite().all() for tensor in found.encoder.state_dict().values())
    assert all(tensor.device.type == compute.device.type for tensor in found.encoder.state_dict().values())
    for key, value in expected.history[0].items():
        if key.endswith(".loss") and isinstance(value, float):
            assert found.history[0][key] == pytest.approx(value, rel=0.02, abs=1e-3)


@pytest.mark.parametrize("name", sorted(registry.parts("fusion")))
def test_a_fusion_s_epochs_are_near_a_processor_s(name: str, compute: Compute) -> None:
    asked = may_be(schedule="branches", fusion=name) or may_be(schedule="joint", fusion=name)
    found, expected = (
        pretrain(asked, dataset(where.device), {}, where, 0, None) for where in (compute, Compute(CPU, "float32"))
    )
    for key, value in expected.history[0].items():
        if key.endswith("validation_loss") and isinstance(value, float):
            assert found.history[0][key] == pytest.approx(value, rel=0.05)


@pytest.mark.usefixtures("repeatable")
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", sorted(registry.parts("balancing")))
def test_a_balancing_s_step_waits_at_most_to_read_what_it_solves_for(
    name: str, how: str, compute: Compute, unread: Any, device: torch.device
) -> None:
    """Of losses nothing is read; of gradients the Gram matrix, a few numbers that are solved for on a processor."""
    asked = fitting("balancing", name, how)
    if asked is None or asked.balancing.compares != "nothing" or asked.balancing.looks_ahead:
        pytest.skip("reads a few numbers in each step, as it is made to" if asked else "refused in the plan")
    data = dataset(device)
    learner = Learner(asked, data, prepared(asked, data), compute, 0)
    schedule = registry.load("schedule", asked.schedule.name)(asked.schedule)
    (turn, *_) = schedule.turns(learner.names, 12, generator_of(0))
    optimizer = make_optimizer(asked.optimizer, *learner.groups(turn.tasks))
    feeds = learner.feeds(0, [turn])
    records: dict[str, list[Any]] = {task: [] for task in learner.names}
    for module in learner.modules(learner.names):
        module.train()
    for number, tasks in enumerate(turn.steps):
        if number == 0:
            learner.leave_gradients(learner.step(turn, tasks, records, feeds), optimizer)
            optimizer.step()
            continue
        with unread():
            learner.leave_gradients(learner.step(turn, tasks, records, feeds), optimizer)
            torch.nn.utils.clip_grad_norm_(learner.encoder.parameters(), 5.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def test_the_stand_ins_are_real_parts() -> None:
    """What is tried here says something of what studies name."""
    assert set(OPTIONS) <= set(TASKS)
    assert gpu_cases.source().encoder.name == "resnet8"
