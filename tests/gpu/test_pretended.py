"""The GPU that is made up refuses and tells what a GPU would; and trainings on it, in every run of the tests."""

import warnings
from collections.abc import Iterator
from typing import Any

import gpu_cases
import pytest
import torch
import torch.nn.functional as F
from gpu_cases import CPU, LABELLED, SHARED, dataset, prepared, same_bytes, source, task, waiting_refused

from pretended_cuda import CUDA, MixedError, State, WaitError, pretended_cuda, unread
from tessera.multitask.learner import Learner
from tessera.multitask.pretrain import pretrain
from tessera.multitask.records import Record
from tessera.training.compute import Compute
from tessera.training.optimizer import make_optimizer

FOUR = [task(name) for name in ("jigsaw", "colorization", "segmentation", "reconstruction")]


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    with pretended_cuda():
        yield CUDA


def test_values_and_gradients_are_a_processor_s(gpu: torch.device) -> None:
    weight, inputs = torch.randn(3, 4), torch.randn(5, 4)
    leaf, other = weight.clone().requires_grad_(), weight.to(gpu).requires_grad_()
    F.linear(inputs, leaf).square().sum().backward()
    F.linear(inputs.to(gpu), other).square().sum().backward()
    assert leaf.grad is not None
    assert other.grad is not None
    assert other.grad.device == gpu
    assert torch.equal(other.grad.cpu(), leaf.grad)


def test_what_a_gpu_refuses_is_refused(gpu: torch.device) -> None:
    there = torch.randn(3).to(gpu)
    with pytest.raises(MixedError, match="tensors of a processor"):
        there + torch.ones(3)
    with pytest.raises(MixedError, match="generator"):
        torch.randn(3, device=gpu, generator=torch.Generator())
    with pytest.raises(MixedError, match="stack"):
        torch.stack([there.sum(), torch.tensor(1.0)])
    assert (there + torch.tensor(1.0)).device == gpu  # a single number is none of a device's
    assert torch.randn(3, device=gpu, generator=torch.Generator(gpu)).device == gpu


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: bool((x > 0).all()),
        lambda x: x[x > 0],
        lambda x: x.index_put_((x > 0,), x.clone()),
        lambda x: (x > 0).nonzero(),
        lambda x: torch.ones(3).to(x.device),
        lambda x: torch.tensor([1.0, 2.0], device=x.device),
        lambda x: x.new_tensor([1.0]),
        lambda x: x[torch.tensor([0, 1])],
    ],
)
def test_what_a_gpu_waits_for_is_told(wait: Any, gpu: torch.device) -> None:
    there = torch.randn(3).to(gpu)
    with unread(), pytest.raises(WaitError):
        wait(there)
    with unread():
        there.add_(torch.ones(3).to(gpu, non_blocking=True)).sum()


CASES: dict[str, dict[str, Any]] = {
    "joint": {"tasks": FOUR, "schedule": "joint"},
    "tte": {"tasks": FOUR, "schedule": "branches", "regularizer": "divergence", "fusion": "tte"},
    "a shared input": {**SHARED, "tasks": LABELLED, "balancing": "dwa"},
}


@pytest.mark.parametrize("case", CASES)
def test_a_step_with_making_its_batches_waits_for_nothing(case: str, gpu: torch.device) -> None:
    asked, data = source(**CASES[case], iterations=4 if case != "a shared input" else 2), dataset(gpu)
    learner = Learner(asked, data, prepared(asked, data), Compute(gpu, "float32"), 0)
    schedule = gpu_cases.schedule_of(asked)
    turns = schedule.turns(learner.names, 8, torch.Generator())
    learner.regularizer.begin_epoch(learner.encoder, 0)
    feeds = learner.feeds(0, turns)
    records: dict[str, list[Record]] = {name: [] for name in learner.names}
    for turn in turns:
        optimizer = make_optimizer(asked.optimizer, *learner.groups(turn.tasks))
        for module in learner.modules(learner.names):
            module.train()
        for number, tasks in enumerate(turn.steps):
            if number == 0:  # tables are made at first
                learner.leave_gradients(learner.step(turn, tasks, records, feeds), optimizer)
                continue
            with unread():
                learner.leave_gradients(learner.step(turn, tasks, records, feeds), optimizer)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)


def test_a_pretraining_ends_with_a_processor_s_bytes(gpu: torch.device) -> None:
    asked = source(schedule="joint", balancing="mgda", iterations=2, epochs=1)
    there, here = (
        pretrain(asked, dataset(device), {}, Compute(device, "float32"), 0, None).encoder.state_dict()
        for device in (gpu, CPU)
    )
    assert State.waited
    assert same_bytes({name: tensor.cpu() for name, tensor in there.items()}, here) == []


def test_waiting_is_refused_though_pytorch_warns_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings are errors in the tests."""
    set_to = []

    def set_mode(mode: str) -> None:
        set_to.append(mode)
        if mode == "error":
            warnings.warn("a prototype", UserWarning, stacklevel=1)

    monkeypatch.setattr("torch.cuda.set_sync_debug_mode", set_mode)
    with pytest.raises(ValueError, match="inside"), waiting_refused():
        raise ValueError("inside")
    assert set_to == ["error", "default"]
