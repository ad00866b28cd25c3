"""The dummies' gradient norm: its value and gradient against double backward, and that dummies stay what they are."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from multitask_stand_ins import (
    LABELLED,
    SHARED,
    TURN,
    TinyEncoder,
    pass_of,
    tiny_dataset,
    tiny_source,
    two_labels,
)
from torch import Tensor, nn
from torch.testing import assert_close

from tessera.models.heads.vectors import VectorHead
from tessera.multitask.learner import Learner
from tessera.multitask.pretrain import pretrain
from tessera.multitask.regularizers.dgr import DummyGradientNorm
from tessera.multitask.regularizers.options import DgrOptions
from tessera.multitask.schedule.base import Turn
from tessera.multitask.step import SharedInput
from tessera.training.compute import Compute
from tessera.training.optimizer import make_optimizer

COMPUTE = Compute(torch.device("cpu"), "float32")
LABELS = torch.arange(8) % 3
HEADS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: VectorHead(6, (), 3),
    "two layers": lambda: VectorHead(6, (5,), 3, dropout=0.5),
    "map": lambda: nn.Sequential(nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1)),
}


def loss_by(head: Callable[[Tensor], Any], features: Tensor) -> Tensor:
    """Cross-entropy, of the whole image or at each place."""
    prediction = head(features)
    labels = LABELS if prediction.ndim == 2 else LABELS[:, None, None].expand(-1, *prediction.shape[2:])
    return F.cross_entropy(prediction, labels)


def dgr(kind: str = "two layers", **options: Any) -> DummyGradientNorm:
    torch.manual_seed(0)
    return DummyGradientNorm(DgrOptions(**options), 6, {"a": HEADS[kind]})


def dummies(regularizer: DummyGradientNorm) -> list[nn.Module]:
    return list(regularizer.dummies["a"].children())


def by_double_backward(heads: Sequence[nn.Module], features: Tensor, weight: float) -> Tensor:
    """The penalty written out, as a graph that goes through the encoder."""
    norms = []
    for head in heads:
        head.requires_grad_(True)
        gradients = torch.autograd.grad(loss_by(head, features), list(head.parameters()), create_graph=True)
        norms.append(torch.cat([gradient.flatten() for gradient in gradients]).norm())
    return weight * sum(norms, torch.zeros(())) / len(norms)


def by_finite_differences(heads: Sequence[nn.Module], encode: Callable[[], Tensor], weight: float) -> list[Tensor]:
    """What the paper does: the change of the encoder's gradient along a dummy's own."""
    total = None
    for head in heads:
        weights = list(head.requires_grad_(True).parameters())
        gradient = torch.autograd.grad(loss_by(head, encode()), weights)
        norm = torch.cat([part.flatten() for part in gradient]).norm()
        found = []
        for sign in (1, -2):  # up, and from there as far below
            for parameter, part in zip(weights, gradient, strict=True):
                parameter.data += sign * 1e-5 * part / norm
            encoder = torch.autograd.grad(loss_by(head, encode()), ENCODER)
            found.append(torch.cat([part.flatten() for part in encoder]))
        for parameter, part in zip(weights, gradient, strict=True):
            parameter.data += 1e-5 * part / norm
        slope = (found[0] - found[1]) / 2e-5
        total = slope if total is None else total + slope
    assert total is not None
    return [weight * total / len(heads)]


ENCODER: list[nn.Parameter] = []


@pytest.mark.parametrize("kind", HEADS)
def test_gradient_is_that_of_double_backward_and_of_the_paper_s_finite_differences(kind: str) -> None:
    torch.manual_seed(1)
    encoder, images = TinyEncoder().double(), torch.randn(8, 3, 16, 16).double()
    ENCODER[:] = list(encoder.parameters())
    regularizer = dgr(kind, weight=0.3, dummies=2).double()
    value = regularizer(pass_of(encoder(images), loss_by=loss_by))
    found = torch.autograd.grad(value, ENCODER)

    penalty = by_double_backward(dummies(regularizer), encoder(images), 0.3)
    assert_close(value, penalty, rtol=1e-9, atol=0)
    assert_close(found, torch.autograd.grad(penalty, ENCODER), rtol=1e-7, atol=1e-12)
    (differences,) = by_finite_differences(dummies(regularizer), lambda: encoder(images), 0.3)
    flat = torch.cat([part.flatten() for part in found])
    assert (flat - differences).norm() < 1e-4 * flat.norm()


def test_dummies_differ_have_no_dropout_and_depend_on_no_other_task() -> None:
    one, two, three = dummies(dgr().train())
    features = torch.randn(8, 6, 2, 2)
    assert torch.equal(one(features), one(features))
    assert not torch.allclose(one(features), two(features))
    assert not torch.allclose(two(features), three(features))

    def learner_of(*tasks: str) -> Learner:
        return Learner(tiny_source(tasks=tasks, regularizer="dgr"), tiny_dataset(), {}, COMPUTE, 0)

    alone, beside = learner_of(TURN), learner_of("multitask_stand_ins:Contrast", TURN)
    (key,) = alone.heads
    states = [made.regularizer.dummies[key].state_dict() for made in (alone, beside)]  # type: ignore[index, union-attr]
    assert len(states[0]) == 6
    assert all(torch.equal(weight, states[1][name]) for name, weight in states[0].items())
    assert not torch.equal(states[0]["0.3.weight"], alone.heads[key].state_dict()["3.weight"])


def test_dummies_are_in_no_optimizer_and_are_saved_as_they_began(tmp_path: Path) -> None:
    source = tiny_source(regularizer="dgr", optimizer={"learning_rate": 0.05, "weight_decay": 0.1})
    learner = Learner(source, tiny_dataset(), {}, COMPUTE, 0)
    optimizer = make_optimizer(source.optimizer, *learner.groups(learner.names))
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert not trained & {id(parameter) for parameter in learner.regularizer.parameters()}
    pretrain(source, tiny_dataset(), {}, COMPUTE, 0, tmp_path)
    saved = torch.load(tmp_path / "state.pt", weights_only=True)["regularizer"]
    began = learner.regularizer.state_dict()
    assert saved.keys() == began.keys()
    assert sum(name.endswith("3.weight") for name in saved) == 6  # two tasks of three dummies
    assert all(torch.equal(tensor, began[name]) for name, tensor in saved.items())


@pytest.mark.parametrize("options", [{"weight": 0.0}, {"dummies": 0}])
@pytest.mark.parametrize("balancing", ["equal", "multitask_stand_ins:UnitNorms"])
def test_nothing_of_it_is_none_to_the_bit(options: dict[str, Any], balancing: str) -> None:
    runs = [
        pretrain(tiny_source(regularizer=chosen, balancing=balancing, epochs=2), tiny_dataset(), {}, COMPUTE, 0, None)
        for chosen in ("none", {"name": "dgr", **options})
    ]
    for part in ("encoder", "heads"):
        one, other = (getattr(run, part).state_dict() for run in runs)
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert [run.history[-1].get("turn.regularizer") for run in runs] == [None, 0.0]


def test_a_dummy_without_gradient_adds_nothing_and_leaves_no_nan() -> None:
    regularizer = dgr("map", weight=1.0)
    for head in dummies(regularizer):
        head.append(nn.ReLU())  # type: ignore[operator]
        head[3].bias.fill_(-100.0)  # type: ignore[index, union-attr, operator]
    features = torch.randn(8, 6, 2, 2, requires_grad=True)
    value = regularizer(pass_of(features, loss_by=loss_by))
    (gradient,) = torch.autograd.grad(value, features)
    assert value.item() == pytest.approx(0.0, abs=1e-5)
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("kind", HEADS)
def test_dummies_compute_in_float32_under_bfloat16(kind: str) -> None:
    regularizer, features = dgr(kind), torch.randn(8, 6, 4, 4).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = regularizer(pass_of(features, loss_by=loss_by))
    exact = features.detach().float().requires_grad_()
    expected = regularizer(pass_of(exact, loss_by=loss_by))
    assert value.dtype == torch.float32
    assert_close(value, expected, rtol=1e-6, atol=0)
    gradients = (torch.autograd.grad(each, of)[0].float() for each, of in ((value, features), (expected, exact)))
    assert_close(*gradients, rtol=1e-2, atol=1e-6)


def test_it_is_outside_of_what_is_weighed_and_recorded_with_the_features_norm() -> None:
    def task_losses(regularizer: str) -> tuple[list[Any], list[dict[str, Tensor]]]:
        source = tiny_source(tasks=LABELLED, schedule=SHARED, regularizer=regularizer)
        learner = Learner(source, two_labels(), {}, COMPUTE, 0)
        batches = next(learner.feeds(0, [Turn(steps=(tuple(learner.names),), shared=True)])[learner.names[0]])
        records: dict[str, list[Any]] = {name: [] for name in learner.names}
        return list(SharedInput(learner, learner.names, records, batches).losses()), [
            records[name][0] for name in learner.names
        ]

    (plain, _), (with_it, records) = task_losses("none"), task_losses("dgr")
    for one, other, record in zip(plain, with_it, records, strict=True):
        assert one.outside is None
        assert torch.equal(one.loss, other.loss)
        assert record["regularizer"] == other.outside
        assert other.outside > 0
        assert record["feature_norm"] > 0
