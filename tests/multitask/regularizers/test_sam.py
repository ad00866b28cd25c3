"""SAM against two written-out looks, in float64; what a second look must leave as it is."""

import pytest
import torch
from multitask_stand_ins import BRIGHTNESS, CONTRAST, tiny_dataset, tiny_source
from torch import Tensor
from torch.testing import assert_close
from toy_step import TASKS, ToyNetwork, ToyStep

from tessera import registry
from tessera.multitask.balancing.base import Balancing
from tessera.multitask.balancing.gradnorm import GradNorm
from tessera.multitask.balancing.options.lookahead import GradnormOptions
from tessera.multitask.epochs import Pretrained
from tessera.multitask.gradients import leave_gradients, looks_of
from tessera.multitask.pretrain import pretrain
from tessera.multitask.regularizers.options import SamOptions
from tessera.multitask.regularizers.sam import SharpnessAware
from tessera.training.compute import Compute


def sam(rho: float) -> SharpnessAware:
    return SharpnessAware(SamOptions(rho=rho), 3, {})


def balancing_of(name: str) -> Balancing:
    part = registry.find("balancing", name)
    made: Balancing = registry.load("balancing", name)(part.options(), TASKS)
    return made


def gradient(network: ToyNetwork, step: ToyStep) -> list[Tensor]:
    return list(torch.autograd.grad(sum(each.loss for each in step.losses()), list(network.parameters())))  # type: ignore[arg-type]


@pytest.mark.parametrize("shared_input", [False, True])
def test_gradients_are_those_of_two_written_out_looks(shared_input: bool) -> None:
    network, other, rho = ToyNetwork(), ToyNetwork(), 0.3
    before = [parameter.detach().clone() for parameter in network.parameters()]
    step = ToyStep(network, 0, shared_input=shared_input)
    sam(rho).around(looks_of(step, balancing_of("equal"), network.shared, again=True), step.parameters)
    reference = ToyStep(other, 0, shared_input=shared_input)
    first = gradient(other, reference)
    length = torch.cat([part.flatten() for part in first]).norm()
    with torch.no_grad():
        for parameter, part in zip(other.parameters(), first, strict=True):
            parameter += rho * part / length
    assert_close([p.grad for p in network.parameters()], gradient(other, reference), rtol=1e-10, atol=1e-13)
    assert all(torch.equal(one, two) for one, two in zip(network.parameters(), before, strict=True))


@pytest.mark.parametrize("name", registry.parts("balancing"))
def test_without_a_distance_every_balancing_has_its_plain_gradient_and_is_told_of_one_step(name: str) -> None:
    found = []
    for rho in (None, 0.0):
        network, balancing = ToyNetwork(), balancing_of(name)
        torch.manual_seed(1)
        if name == "gradnorm":  # past the first epoch, where it begins to move
            leave_gradients(ToyStep(network, 0), balancing, network.shared)
            balancing.end_epoch(dict.fromkeys(TASKS, 1.0))
            network.zero_grad()
        step = ToyStep(network, 1)
        if rho is None:
            leave_gradients(step, balancing, network.shared)
        else:
            sam(rho).around(looks_of(step, balancing, network.shared, again=True), step.parameters)
            assert step.looks == 2
        gradients = [parameter.grad for parameter in network.parameters()]
        found.append((gradients, list(balancing.buffers()), balancing.figures()))
    assert_close(found[0], found[1], rtol=0, atol=0, equal_nan=True)


def test_a_second_look_has_the_weights_of_the_first_and_does_not_move_them_again() -> None:
    network = ToyNetwork()
    balancing = GradNorm(GradnormOptions(), TASKS)
    leave_gradients(ToyStep(network, 0), balancing, network.shared)
    balancing.end_epoch({})
    network.zero_grad()
    scaled = list[Tensor]()
    scale = balancing.scale
    balancing.scale = lambda *given: scaled.append(balancing.lambdas.clone()) or scale(*given)  # type: ignore[method-assign, func-returns-value]
    step = ToyStep(network, 1)
    sam(0.5).around(looks_of(step, balancing, network.shared, again=True), step.parameters)
    assert len(scaled) == 6
    assert all(torch.equal(each, scaled[0]) for each in scaled)
    moved = balancing.lambdas.clone()
    assert not torch.equal(moved, scaled[0])

    alone = GradNorm(GradnormOptions(), TASKS)
    other = ToyNetwork()
    leave_gradients(ToyStep(other, 0), alone, other.shared)
    alone.end_epoch({})
    other.zero_grad()
    leave_gradients(ToyStep(other, 1), alone, other.shared)
    assert torch.equal(alone.lambdas, moved)


def test_a_zero_gradient_moves_nothing() -> None:
    network = ToyNetwork()

    def look() -> None:
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)

    sam(0.1).around(look, list(network.parameters()))
    assert all(p.isfinite().all() and p.grad is not None for p in network.parameters())


def run(regularizer: object) -> Pretrained:
    # Without dropout, of which each look has masks of its own.
    source = tiny_source(tasks=[BRIGHTNESS, CONTRAST], regularizer=regularizer, epochs=2)
    return pretrain(source, tiny_dataset(), {}, Compute(torch.device("cpu"), "float32"), 0, None)


def test_a_training_without_a_distance_is_plain_and_reports_the_first_look() -> None:
    plain, still, away = run("none"), run({"name": "sam", "rho": 0.0}), run({"name": "sam", "rho": 0.5})
    for one, other in zip(plain.encoder.parameters(), still.encoder.parameters(), strict=True):
        assert torch.equal(one, other)
    assert still.history[-1]["brightness.loss"] == plain.history[-1]["brightness.loss"]
    assert not torch.equal(plain.encoder.conv2.weight, away.encoder.conv2.weight)  # type: ignore[arg-type, union-attr]
    assert away.history[0].keys() == plain.history[0].keys()
