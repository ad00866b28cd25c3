"""Weights of each balancing that compares gradients by a route of its own, and whole steps against torchjd's."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from gradient_properties import CONFLICT, combined, make, random_gradients, weights_of
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor
from torch.testing import assert_close
from torchjd.aggregation import IMTLG, MGDA, AlignedMTL, FairGrad, FairGradWeighting, PCGrad
from torchjd.autojac import jac_to_grad, mtl_backward
from torchjd.scalarization import IMTLL
from two_layers import TASKS, TwoLayers

from tessera.multitask.balancing.drawn import Drawn
from tessera.multitask.gradients import leave_gradients
from tessera.training.optimizer import SGD
from tessera.training.randomness import seed_of

AGGREGATORS = {
    "mgda": lambda: MGDA(epsilon=1e-9, max_iters=2000),
    "pcgrad": PCGrad,
    "imtl": IMTLG,
    "nash_mtl": lambda: FairGrad(alpha=1.0),
    "aligned_mtl": lambda: AlignedMTL(torch.ones(3, dtype=torch.float64)),
    "fairgrad": lambda: FairGrad(alpha=1.5),
}
SETTINGS = {"imtl": {"balance": "gradients"}, "fairgrad": {"alpha": 1.5}}
GRADIENTS = [CONFLICT, random_gradients(4), random_gradients(5, seed=1), random_gradients(4, size=20, seed=2)]


@pytest.mark.parametrize("shared_input", [False, True])
@pytest.mark.parametrize("name", AGGREGATORS)
def test_a_step_leaves_torchjd_s_gradients(name: str, shared_input: bool) -> None:
    ours, theirs = TwoLayers(shared_input), TwoLayers(shared_input)
    balancing = make(name, **SETTINGS.get(name, {}))(3)
    draw = seed_of(balancing.get_extra_state()["seed"], 0) if isinstance(balancing, Drawn) else 0
    balancing.tasks = TASKS
    leave_gradients(ours, balancing, ours.shared)
    z = theirs.encode("a")
    maps = {task: z if shared_input else theirs.encode(task) for task in TASKS}
    losses = [theirs.task_loss(task, maps[task]).loss for task in TASKS]
    mtl_backward(losses, list(dict.fromkeys(maps.values())), shared_params=theirs.shared)
    torch.manual_seed(draw)
    jac_to_grad(theirs.shared, AGGREGATORS[name]())
    for one, other in zip(ours.shared, theirs.shared, strict=True):
        tolerance = {"rtol": 0.0, "atol": 1e-2} if name == "mgda" else {"rtol": 1e-6, "atol": 1e-6}
        assert_close(one.grad, other.grad, **tolerance)  # torchjd's iteration nears the shortest one slowly
    for task in TASKS:
        for one, other in zip(ours.heads[task].parameters(), theirs.heads[task].parameters(), strict=True):
            assert_close(one.grad, other.grad)


def slsqp(function: Callable[[np.ndarray], float], slope: Callable[[np.ndarray], np.ndarray], number: int) -> Tensor:
    """The least over weights that are not negative and have sum 1."""
    found = minimize(
        function, np.full(number, 1 / number), jac=slope, bounds=[(0, 1)] * number, method="SLSQP",
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(number)},
        options={"ftol": 1e-16, "maxiter": 1000},
    )  # fmt: skip
    return torch.from_numpy(found.x)


@pytest.mark.parametrize("normalize", ["none", "l2", "loss", "loss+"])
def test_mgda_of_two_tasks_has_a_closed_form(normalize: str) -> None:
    losses = torch.tensor([0.5, 2.0], dtype=torch.float64)
    for seed in range(10):
        gradients = random_gradients(2, size=3, seed=seed)
        lengths = gradients.norm(dim=1)
        by = {"none": torch.ones(2), "l2": lengths, "loss": losses, "loss+": losses * lengths}[normalize]
        one, other = gradients / by[:, None]
        first = ((other - one) @ other / (one - other).square().sum()).clamp(0, 1)
        expected = torch.stack([first, 1 - first])
        assert_close(weights_of(make("mgda", normalize=normalize), gradients, losses), expected)


@pytest.mark.parametrize("gradients", GRADIENTS)
def test_mgda_is_the_shortest_convex_combination(gradients: Tensor) -> None:
    gram = (gradients @ gradients.T).numpy()
    expected = slsqp(lambda w: 0.5 * w @ gram @ w, lambda w: gram @ w, len(gradients))
    assert_close(weights_of(make("mgda"), gradients), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("combine", ["sum", "mean"])
def test_pcgrad_projects_vectors_in_the_drawn_order(combine: str) -> None:
    balancing = make("pcgrad", combine=combine)(4)
    gradients = random_gradients(4, size=5, seed=3)
    results = []
    for draw in range(4):
        weights = balancing.weights(gradients @ gradients.T, torch.ones(4, dtype=torch.float64))
        generator = torch.Generator().manual_seed(seed_of(torch.initial_seed(), draw))
        total = torch.zeros(5, dtype=torch.float64)
        for i, gradient in enumerate(gradients):
            projected = gradient.clone()
            for j in torch.randperm(4, generator=generator).tolist():
                if j != i and projected @ gradients[j] < 0:
                    projected -= projected @ gradients[j] / gradients[j].square().sum() * gradients[j]
            total += projected
        results.append(weights @ gradients)
        assert_close(results[-1], total / 4 if combine == "mean" else total)
    assert not torch.allclose(results[0], results[1]), "the order is drawn anew in each step"


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("c", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("gradients", GRADIENTS)
def test_cagrad_solves_the_authors_problem(gradients: Tensor, c: float, rescale: bool) -> None:
    number, gram = len(gradients), (gradients @ gradients.T).numpy()
    mean = gradients.mean(dim=0)
    radius = c * float(mean.norm())

    def length(w: np.ndarray) -> float:
        return math.sqrt(max(w @ gram @ w, 1e-30))

    w = slsqp(
        lambda w: gram.mean(axis=0) @ w + radius * length(w),
        lambda w: gram.mean(axis=0) + radius * gram @ w / length(w),
        number,
    )
    expected = mean + radius * (w @ gradients) / (w @ gradients).norm()
    found = combined(make("cagrad", c=c, rescale=rescale), gradients)
    assert_close(found, expected / (1 + c**2) if rescale else expected, rtol=1e-4, atol=1e-5)
    direction = found * (1 + c**2) if rescale else found
    assert float((direction - mean).norm()) == pytest.approx(radius)
    gain = float((gradients @ direction).min())  # Eq. 1: no other of the ball has a better worst gain
    generator = torch.Generator().manual_seed(0)
    for other in torch.nn.functional.normalize(torch.randn(200, len(mean), generator=generator, dtype=torch.float64)):
        assert float((gradients @ (mean + radius * other)).min()) <= gain + 1e-9


def test_cagrad_of_two_tasks_is_the_authors_toy() -> None:
    one, other = random_gradients(2, size=3, seed=5)
    mean, c = (one + other) / 2, 0.5

    def objective(x: float) -> float:
        both = x * one + (1 - x) * other
        return float(both @ mean + c * mean.norm() * both.norm())

    x = minimize_scalar(objective, bounds=(0, 1), method="bounded", options={"xatol": 1e-12}).x
    both = x * one + (1 - x) * other
    expected = (mean + c * mean.norm() * both / both.norm()) / (1 + c**2)
    assert_close(combined(make("cagrad"), torch.stack([one, other])), expected, rtol=1e-6, atol=1e-7)


def test_cagrad_is_the_mean_without_a_ball_and_where_no_step_helps_every_task() -> None:
    gradients = random_gradients(4)
    assert_close(combined(make("cagrad", c=0.0), gradients), gradients.mean(dim=0))
    zero = torch.cat([gradients[:1], torch.zeros(1, 8, dtype=torch.float64)])
    assert_close(combined(make("cagrad", rescale=False), zero), gradients[0] / 2)


@pytest.mark.parametrize("gradients", GRADIENTS)
def test_imtl_g_by_the_paper_s_matrices_of_differences(gradients: Tensor) -> None:
    units = torch.nn.functional.normalize(gradients)
    differences, unit_differences = gradients[0] - gradients[1:], units[0] - units[1:]
    others = gradients[0] @ unit_differences.T @ torch.linalg.inv(differences @ unit_differences.T)
    expected = torch.cat([1 - others.sum(dim=0, keepdim=True), others])
    assert_close(weights_of(make("imtl", balance="gradients"), gradients), expected)


def test_imtl_g_projects_equally_where_gradients_depend_on_each_other() -> None:
    one, other, _ = CONFLICT
    for gradients in (
        torch.stack([one, other, one + other]),
        torch.stack([2 * one, -one]),
        torch.stack([one, 3 * one]),
    ):
        projections = torch.nn.functional.normalize(gradients) @ combined(make("imtl", balance="gradients"), gradients)
        assert_close(projections, projections[:1].expand_as(projections), rtol=1e-7, atol=1e-9)


def test_imtl_l_is_torchjd_s_in_value_and_gradient() -> None:
    ours, theirs = make("imtl", balance="losses")(3).double(), IMTLL(3).double()
    with torch.no_grad():
        for place, parameter in enumerate(ours.parameters()):
            parameter.fill_(0.3 * place)
            theirs.log_scale[place] = 0.3 * place
    losses = torch.tensor([0.5, 2.0, 0.1], dtype=torch.float64, requires_grad=True)
    total = sum(ours.scale(f"task{i}", loss, 3) for i, loss in enumerate(losses))
    assert isinstance(total, Tensor)
    assert_close(total, theirs(losses))
    total.backward()  # type: ignore[no-untyped-call]
    found, losses.grad = losses.grad, None
    theirs(losses).backward()
    assert_close(found, losses.grad)
    assert_close(torch.stack([parameter.grad for parameter in ours.parameters()]), theirs.log_scale.grad)  # type: ignore[arg-type]
    assert list(ours.figures()) == ["weight.task0", "weight.task1", "weight.task2"]


def test_imtl_s_scaled_losses_are_one_where_they_settle() -> None:
    balancing = make("imtl", balance="both")(1)
    optimizer = SGD(balancing.parameters(), lr=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        balancing.scale("task0", torch.tensor(0.2), 1).backward()
        optimizer.step()
    (parameter,) = balancing.parameters()
    assert float(parameter.detach().exp()) * 0.2 == pytest.approx(1, rel=1e-3)
    assert balancing.groups() == [([balancing], 1.0)]


@pytest.mark.parametrize("gradients", GRADIENTS)
def test_nash_bargains(gradients: Tensor) -> None:
    weights, gram = weights_of(make("nash_mtl"), gradients), gradients @ gradients.T
    assert (weights > 0).all()
    assert_close(weights * (gram @ weights), torch.ones_like(weights), rtol=1e-10, atol=1e-10)
    assert float((weights @ gradients).norm()) == pytest.approx(math.sqrt(len(gradients)))


def test_nash_of_two_tasks_has_a_closed_form() -> None:
    for seed in range(12):
        gradients = random_gradients(2, size=3, seed=seed)
        one, other = gradients
        cosine = one @ other / one.norm() / other.norm()
        expected = 1 / (gradients.norm(dim=1) * (1 + cosine).sqrt())
        assert_close(weights_of(make("nash_mtl"), gradients), expected, rtol=2e-8, atol=1e-10)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("gradients", GRADIENTS)
def test_fairgrad_s_gains_are_alpha_fair(gradients: Tensor, alpha: float) -> None:
    weights, gram = weights_of(make("fairgrad", alpha=alpha), gradients), gradients @ gradients.T
    assert (weights > 0).all()
    assert_close(gram @ weights, weights ** (-1 / alpha), rtol=1e-9, atol=1e-10)
    assert_close(FairGradWeighting(alpha)(gram), weights, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scale", ["min", "median", "rmse"])
@pytest.mark.parametrize("gradients", GRADIENTS)
def test_aligned_gradients_have_one_principal_length(gradients: Tensor, scale: str) -> None:
    left, lengths, right = torch.linalg.svd(gradients, full_matrices=False)
    squares = lengths.square()
    one = {"min": squares.min(), "median": squares.median(), "rmse": squares.mean()}[scale].sqrt()
    aligned = one * left @ right  # the nearest matrix of that kind
    assert_close(combined(make("aligned_mtl", scale=scale), gradients), aligned.sum(dim=0), rtol=1e-7, atol=1e-9)


def projected(gradients: Tensor, vector: Tensor) -> Tensor:
    """The nearest vector that goes against no gradient, by a general solver."""
    rows, given = gradients.numpy(), vector.numpy()
    found = minimize(
        lambda x: 0.5 * np.square(x - given).sum(), given, jac=lambda x: x - given, method="SLSQP",
        constraints={"type": "ineq", "fun": lambda x: rows @ x, "jac": lambda x: rows},
        options={"ftol": 1e-16, "maxiter": 1000},
    )  # fmt: skip
    return torch.from_numpy(found.x)


@pytest.mark.parametrize("gradients", GRADIENTS)
def test_projections_onto_the_dual_cone(gradients: Tensor) -> None:
    mean = torch.stack([projected(gradients, gradient) for gradient in gradients]).mean(dim=0)
    assert_close(combined(make("upgrad"), gradients), mean, rtol=1e-6, atol=1e-7)
    assert_close(
        combined(make("dual_proj"), gradients), projected(gradients, gradients.mean(dim=0)), rtol=1e-6, atol=1e-7
    )


def test_random_weights_are_of_sum_one_drawn_anew_in_each_step_and_repeat() -> None:
    balancing, again = make("random")(3), make("random")(3)
    losses = [torch.tensor(1.0), torch.tensor(1.0), torch.tensor(1.0)]

    def step(of: torch.nn.Module) -> list[float]:
        return [float(of.scale(f"task{i}", loss, 3)) for i, loss in enumerate(losses)]  # type: ignore[operator]

    first, second = step(balancing), step(balancing)
    assert sum(first) == pytest.approx(1)
    assert sum(second) == pytest.approx(1)
    assert first != second
    again.load_state_dict(balancing.state_dict())
    before = torch.get_rng_state()
    assert step(again) == step(balancing)
    assert torch.equal(torch.get_rng_state(), before), "draws are its own"
    mean = torch.tensor([step(balancing) for _ in range(300)]).mean(dim=0)
    assert_close(mean, torch.full((3,), 1 / 3), rtol=0, atol=0.05)
