"""Gradients of a step against written-out ones, in float64: added up, or weighed by what a toy makes of them."""

from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from two_layers import TASKS, TwoLayers

from tessera.errors import DivergedError
from tessera.multitask.balancing.base import Balancing
from tessera.multitask.balancing.equal import Equal
from tessera.multitask.balancing.options import ComparingOptions
from tessera.multitask.balancing.options.losses import EqualOptions
from tessera.multitask.gradients import leave_gradients


class LastLayerOptions(ComparingOptions):
    compares: ClassVar[Literal["nothing", "all", "last_layer"]] = "last_layer"

    name: str = "toy"


class ToyOptions(ComparingOptions):
    name: str = "toy"


class Toy(Balancing):
    """Weights that depend on the whole Gram matrix and on the losses; keeps what it was given."""

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        self.gramian = gramian
        return gramian.sum(dim=1) / gramian.abs().sum() + losses


def gradients_of(step: TwoLayers) -> dict[str, list[Tensor]]:
    """Written out: of each task's loss, with respect to the shared parameters; and of its head."""
    found = {}
    for task in step.tasks:
        loss = step.task_loss(task, step.encode(task))
        found[task] = list(torch.autograd.grad(loss.loss, [*step.shared, *step.heads[task].parameters()]))
    return found


def outside_of(step: TwoLayers) -> list[Tensor]:
    total = sum(step.task_loss(task, step.encode(task)).outside for task in step.tasks)  # type: ignore[misc]
    return list(torch.autograd.grad(total, step.shared))  # type: ignore[arg-type]


def left(step: TwoLayers) -> list[Tensor]:
    assert all(parameter.grad is not None for parameter in step.shared)
    return [parameter.grad for parameter in step.shared if parameter.grad is not None]


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("shared_input", [False, True])
def test_equal_adds_the_gradients_up(shared_input: bool, outside: bool) -> None:
    step = TwoLayers(shared_input, outside=outside)
    leave_gradients(step, Equal(EqualOptions(), TASKS), step.shared)
    expected = [sum(parts) for parts in zip(*(of[:4] for of in gradients_of(step).values()), strict=True)]
    if outside:
        expected = [one + other for one, other in zip(expected, outside_of(step), strict=True)]
    assert_close(left(step), expected)
    for task, head in step.heads.items():
        assert_close([p.grad for p in head.parameters()], gradients_of(step)[task][4:])


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("options", [ToyOptions(), LastLayerOptions(), ToyOptions(of="features")])
@pytest.mark.parametrize("shared_input", [False, True])
def test_gradients_are_weighed_by_what_they_are(options: Any, shared_input: bool, outside: bool) -> None:
    if options.of == "features" and not shared_input:
        pytest.skip("own inputs have no map in common")
    step, balancing = TwoLayers(shared_input, outside=outside), Toy(options, TASKS)
    leave_gradients(step, balancing, step.shared)
    of_task = gradients_of(step)
    if options.of == "features":
        z = step.encode("a")
        rows = [torch.autograd.grad(step.task_loss(task, z).loss, z, retain_graph=True)[0].flatten() for task in TASKS]
    else:
        taken = slice(2, 4) if options.compares == "last_layer" else slice(0, 4)
        rows = [torch.cat([part.flatten() for part in of_task[task][taken]]) for task in TASKS]
    gramian = torch.tensor([[float(one @ other) for other in rows] for one in rows], dtype=torch.float64)
    losses = torch.stack([step.task_loss(task, step.encode(task)).loss.detach() for task in TASKS])
    rtol = 1e-5 if options.of == "features" else 1e-9  # rows of the map are float32: it may be bfloat16
    assert_close(balancing.gramian, gramian, rtol=rtol, atol=1e-12)
    weights = gramian.sum(dim=1) / gramian.abs().sum() + losses
    expected = [
        sum(weight * part for weight, part in zip(weights, parts, strict=True))
        for parts in zip(*(of_task[task][:4] for task in TASKS), strict=True)
    ]
    if outside:
        expected = [one + other for one, other in zip(expected, outside_of(step), strict=True)]
    assert_close(left(step), expected, rtol=rtol, atol=1e-7 if options.of == "features" else 1e-12)
    for task, head in step.heads.items():
        assert_close([p.grad for p in head.parameters()], of_task[task][4:])
    figures = balancing.figures()
    assert list(figures) == [f"weight.{task}" for task in TASKS]
    assert_close(torch.tensor(list(figures.values())).double(), weights.detach(), rtol=1e-5, atol=1e-8)
    assert balancing.figures() == {}


@pytest.mark.parametrize("options", [ToyOptions(), ToyOptions(of="features")])
def test_one_task_has_its_plain_gradient(options: Any) -> None:
    step = TwoLayers(True, ("b",))
    leave_gradients(step, Toy(options, ("b",)), step.shared)
    assert_close(left(step), gradients_of(step)["b"][:4])


def test_a_task_that_does_not_reach_the_encoder_has_a_zero_gradient() -> None:
    step = TwoLayers(False)
    original = step.encode
    step.encode = lambda task: original(task).detach() if task == "b" else original(task)  # type: ignore[method-assign]
    balancing = Toy(ToyOptions(), TASKS)
    leave_gradients(step, balancing, step.shared)
    assert (balancing.gramian[1] == 0).all()
    assert all(gradient.isfinite().all() for gradient in left(step))


def test_what_is_not_finite_names_its_task() -> None:
    step = TwoLayers(False)
    with torch.no_grad():
        step.heads["c"].weight.fill_(torch.inf)
    with pytest.raises(DivergedError, match="the gradient of task `c` is not finite"):
        leave_gradients(step, Toy(ToyOptions(), TASKS), step.shared)


@pytest.mark.parametrize("shared_input", [False, True])
def test_what_is_added_after_weighing_goes_back_once_through_a_shared_pass(shared_input: bool) -> None:
    step, passes = TwoLayers(shared_input, outside=True), list[Any]()
    step.first.register_full_backward_hook(lambda *seen: passes.append(seen))
    for task in TASKS:
        step.inputs[task].requires_grad_()  # torch calls such hooks for these alone
    leave_gradients(step, Toy(ToyOptions(), TASKS), step.shared)
    assert len(passes) == len(TASKS) + (1 if shared_input else len(TASKS))
