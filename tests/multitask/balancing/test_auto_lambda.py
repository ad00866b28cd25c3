"""Auto-Lambda against exact second order by autograd, and against a written-out training of three tasks."""

from typing import Any

import pytest
import torch
from multitask_stand_ins import BRIGHTNESS, tiny_dataset, tiny_source
from torch import Tensor
from torch.func import functional_call
from torch.testing import assert_close
from toy_step import TASKS, ToyNetwork, ToyStep

from tessera.errors import DivergedError
from tessera.multitask.balancing.auto_lambda import AutoLambda
from tessera.multitask.balancing.options.lookahead import AutoLambdaOptions
from tessera.multitask.gradients import leave_gradients, task_gradients
from tessera.multitask.pretrain import pretrain
from tessera.training.compute import Compute
from tessera.training.lookahead import trained_by
from tessera.training.optimizer import make_optimizer
from tessera.training.options import OptimizerOptions

SGD: list[dict[str, Any]] = [
    {"momentum": 0.0, "weight_decay": 0.0},
    {"momentum": 0.9, "weight_decay": 0.05},
    {"momentum": 0.9, "weight_decay": 0.05, "nesterov": True},
]


def balancing_of(**options: Any) -> AutoLambda:
    balancing = AutoLambda(AutoLambdaOptions(**options), TASKS).double()
    balancing.lambdas.fill_(0.1)  # of twice the digits
    return balancing


def written_out(network: ToyNetwork, optimizer: torch.optim.Optimizer, lambdas: Tensor, step: ToyStep) -> Tensor:
    """The validation loss of all tasks after the step that the optimiser would take, differentiable by lambda."""
    named = dict(network.named_parameters())
    total = sum(weight * network(task, step.inputs(task)) for weight, task in zip(lambdas, TASKS, strict=True))
    gradients = torch.autograd.grad(total, list(named.values()), create_graph=True)  # type: ignore[arg-type]
    there = {}
    for (name, weight), gradient in zip(named.items(), gradients, strict=True):
        (group,) = [g for g in optimizer.param_groups if any(weight is p for p in g["params"])]
        way = gradient + group["weight_decay"] * weight
        average = way
        if group["momentum"] and "momentum_buffer" in optimizer.state.get(weight, {}):
            average = way + group["momentum"] * optimizer.state[weight]["momentum_buffer"]
        way = way + group["momentum"] * average if group["nesterov"] else average
        there[name] = weight - group["lr"] * way
    other = step.another()
    losses = {task: functional_call(network, there, (task, other.inputs(task)), strict=True) for task in TASKS}
    return torch.stack(list(losses.values()))


@pytest.mark.parametrize("shared_input", [False, True])
@pytest.mark.parametrize("settings", SGD, ids=str)
def test_a_training_is_that_of_exact_second_order(settings: dict[str, Any], shared_input: bool) -> None:
    """Step by step: the weights' gradient, then their Adam, then the step that they weigh."""
    network, other = ToyNetwork(), ToyNetwork()
    options = OptimizerOptions(learning_rate=0.05, **settings)
    optimizer, reference = (
        make_optimizer(options, ([net.first, net.last], 1.0), ([net.heads], 0.5)) for net in (network, other)
    )
    for group in (*optimizer.param_groups, *reference.param_groups):
        group["lr"] = 0.05 * group["factor"]
    balancing = balancing_of(learning_rate=0.01)
    lambdas = torch.full((3,), 0.1, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([lambdas], lr=0.01)
    for number in range(12):
        step = ToyStep(network, number, shared_input=shared_input)
        found = balancing.gradient(step, optimizer, TASKS, task_gradients(step, trained_by(optimizer)))
        assert balancing.look_ahead(step, optimizer)  # the step's gradients are left as well
        optimizer.step()
        optimizer.zero_grad()

        step = ToyStep(other, number, shared_input=shared_input)
        adam.zero_grad()
        written_out(other, reference, lambdas, step).sum().backward()
        assert lambdas.grad is not None
        assert_close(found, lambdas.grad, rtol=1e-8, atol=1e-12)
        adam.step()
        other.zero_grad()
        losses = [weight * other(task, step.inputs(task)) for weight, task in zip(lambdas, TASKS, strict=True)]
        torch.stack(losses).sum().backward()
        reference.step()
        reference.zero_grad()
        for one, two in zip(network.parameters(), other.parameters(), strict=True):
            assert_close(one, two, rtol=1e-8, atol=1e-11)
    assert_close(balancing.lambdas, lambdas.detach(), rtol=1e-8, atol=1e-11)
    assert (lambdas - 0.1).abs().max() > 0.02


def test_only_primary_tasks_are_validated_and_an_auxiliary_s_weight_follows_what_it_does_for_them() -> None:
    network = ToyNetwork()
    optimizer = make_optimizer(OptimizerOptions(momentum=0.0, weight_decay=0.0), ([network], 1.0))
    step, balancing = ToyStep(network, 0), balancing_of(primary=["b"])
    lambdas = torch.full((3,), 0.1, dtype=torch.float64, requires_grad=True)
    written_out(network, optimizer, lambdas, step)[TASKS.index("b")].backward()
    found = balancing.gradient(step, optimizer, ["b"], task_gradients(step, trained_by(optimizer)))
    assert lambdas.grad is not None
    assert_close(found, lambdas.grad, rtol=1e-8, atol=1e-12)
    assert (found != 0).all()  # heads aside, all reach b by the encoder
    before = balancing.lambdas.clone()
    assert not balancing.look_ahead(ToyStep(network, 0, tasks=("a", "c")), optimizer)  # no primary task in this step
    assert torch.equal(balancing.lambdas, before)


def test_looking_ahead_leaves_weights_and_momentum_to_the_bit_and_the_gradients_of_a_plain_step() -> None:
    network = ToyNetwork()
    optimizer = make_optimizer(OptimizerOptions(), ([network], 1.0))
    network("a", torch.ones(2, 4, dtype=torch.float64)).backward()
    optimizer.step()
    optimizer.zero_grad()
    weights = [parameter.detach().clone() for parameter in network.parameters()]
    momenta = [optimizer.state[p]["momentum_buffer"].clone() for p in network.shared]
    balancing, passes = balancing_of(), list[int]()
    network.first.register_forward_hook(lambda *_: passes.append(1))
    balancing.look_ahead(ToyStep(network, 3, shared_input=True), optimizer)
    assert len(passes) == 2  # of this step's batch, and of another one: the step itself needs no third
    assert all(torch.equal(one, other) for one, other in zip(network.parameters(), weights, strict=True))
    kept = [optimizer.state[p]["momentum_buffer"] for p in network.shared]
    assert all(torch.equal(one, other) for one, other in zip(kept, momenta, strict=True))
    assert (balancing.lambdas != 0.1).all()
    found = [parameter.grad for parameter in network.parameters()]
    network.zero_grad()
    leave_gradients(ToyStep(network, 3, shared_input=True), balancing, network.shared)
    assert_close(found, [parameter.grad for parameter in network.parameters()])
    noted = {f"weight.{task}": weight.item() for task, weight in zip(TASKS, balancing.lambdas, strict=True)}
    assert balancing.figures() == pytest.approx(noted)


def test_adams_state_goes_with_the_balancings() -> None:
    network = ToyNetwork()
    optimizer = make_optimizer(OptimizerOptions(), ([network], 1.0))
    whole, first = balancing_of(), balancing_of()
    for number in range(4):
        whole.look_ahead(ToyStep(network, number), optimizer)
    for number in range(2):
        first.look_ahead(ToyStep(network, number), optimizer)
    second = balancing_of()
    second.load_state_dict(first.state_dict())
    for number in range(2, 4):
        second.look_ahead(ToyStep(network, number), optimizer)
    assert torch.equal(whole.lambdas, second.lambdas)


def test_one_task_is_learned_as_with_equal_weights() -> None:
    compute, dataset = Compute(torch.device("cpu"), "float32"), tiny_dataset()
    plain, alone = (
        pretrain(tiny_source(balancing=name, tasks=[BRIGHTNESS], epochs=1), dataset, {}, compute, 0, None)
        for name in ("equal", "auto_lambda")
    )
    pairs = zip(plain.encoder.state_dict().values(), alone.encoder.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("schedule", ["joint", "round_robin"])
def test_an_unknown_primary_task_and_one_task_a_step_are_refused(schedule: str) -> None:
    source = tiny_source(balancing={"name": "auto_lambda", "primary": ["brigtness"]}, schedule=schedule)
    lines = list(source.balancing.clashes(source))
    assert lines[0].startswith("balancing.primary names `brigtness`, which is no task of the source. Did you mean 'bri")
    assert len(lines) == (1 if schedule == "joint" else 2)
    fine = tiny_source(balancing={"name": "auto_lambda", "primary": ["brightness"]}, optimizer={"kind": "adam"})
    assert not list(fine.balancing.clashes(fine))


def test_a_gradient_that_is_not_finite_names_its_task_and_leaves_the_weights_as_they_were() -> None:
    network, balancing = ToyNetwork(), balancing_of()
    with torch.no_grad():
        network.heads["b"].weight.fill_(torch.inf)
    optimizer = make_optimizer(OptimizerOptions(), ([network], 1.0))
    with pytest.raises(DivergedError, match="the gradient of task `b` is not finite"):
        balancing.look_ahead(ToyStep(network, 0), optimizer)
    assert torch.equal(balancing.lambdas, torch.full_like(balancing.lambdas, 0.1))
