"""Lasso sharing: the mixture by plain loops, the penalty and its gradient by hand, rows of unit length for ever."""

import math
from typing import Any

import pytest
import torch
from multitask_stand_ins import UnitsEncoder
from torch import Tensor
from torch.testing import assert_close

from encoders import BY_NAME
from tessera import registry
from tessera.models.encoders.base import Encoder
from tessera.multitask.sharing.lasso import LassoSharing
from tessera.multitask.sharing.options import LassoSharingOptions
from tessera.training.optimizer import make_optimizer
from tessera.training.options import OptimizerOptions

TASKS = ["a", "b.c"]
IMAGES = (3, 3, 8, 8)


def lasso(encoder: Encoder | None = None, **options: Any) -> LassoSharing:
    return LassoSharing(LassoSharingOptions(**options), encoder or UnitsEncoder(), TASKS, UnitsEncoder)


def unit_row(row: Tensor) -> list[float]:
    values = row.tolist()
    return [value / math.sqrt(sum(v * v for v in values)) for value in values]


def mixture(sharing: LassoSharing, encoder: Encoder, task: int, images: Tensor) -> Tensor:
    """h_k, one value after the other."""
    alpha, maps = unit_row(sharing.rows[task].detach()), encoder.maps(images, sharing.units)
    kernel = sharing.alignments[0].weight.detach()  # type: ignore[operator,union-attr,index]
    aligned = []
    for unit in sharing.units:
        map_ = maps[unit].detach()
        if unit == "early":  # four channels, where z has six
            map_ = torch.stack([sum(kernel[c, i, 0, 0] * map_[:, i] for i in range(4)) for c in range(6)], dim=1)
        aligned.append(map_)
    result = torch.zeros_like(aligned[-1])
    for n, c, y, x in torch.cartesian_prod(*(torch.arange(size) for size in result.shape)).tolist():
        result[n, c, y, x] = sum(weight * map_[n, c, y, x] for weight, map_ in zip(alpha, aligned, strict=True))
    return result


def test_a_head_reads_the_units_mixed_by_its_own_row() -> None:
    encoder, images = UnitsEncoder().eval(), torch.randn(IMAGES)
    sharing = lasso(encoder)
    for task, row in enumerate(([1.0, -2.0, 0.5], [0.0, 3.0, 4.0])):
        sharing.rows[task].data = torch.tensor(row)
        features = sharing.features(TASKS[task], sharing.maps(encoder, images, [TASKS[task]]))
        assert features.shape == encoder(images).shape
        assert_close(features, mixture(sharing, encoder, task, images), rtol=1e-5, atol=1e-6)
    assert_close(sharing.alpha("b.c"), torch.tensor([0.0, 0.6, 0.8]))


def test_another_encoder_is_read_with_the_same_row() -> None:
    sharing, earlier, images = lasso(), UnitsEncoder().eval(), torch.randn(IMAGES)
    sharing.rows[0].data = torch.tensor([1.0, 2.0, 3.0])
    assert_close(
        sharing.features("a", sharing.maps(earlier, images, ["a"])),
        mixture(sharing, earlier, 0, images),
        rtol=1e-5,
        atol=1e-6,
    )


def test_rows_start_even_and_the_penalty_is_the_l1_norm_of_the_unit_row() -> None:
    sharing = lasso(weight=0.5)
    assert_close(sharing.alpha("a"), torch.full((3,), 1 / math.sqrt(3)))
    assert sharing.penalty("a").item() == pytest.approx(0.5 * math.sqrt(3))  # the largest: sqrt(M)
    sharing.rows[0].data = torch.tensor([0.0, -7.0, 0.0])
    assert sharing.penalty("a").item() == pytest.approx(0.5)  # the smallest: 1
    assert sharing.penalty("b.c").item() == pytest.approx(0.5 * math.sqrt(3))
    assert (sharing.penalty("a").shape, sharing.penalty("a").dtype) == ((), torch.float32)


def test_free_rows_start_even_and_keep_any_length() -> None:
    sharing = lasso(weight=0.5, unit_length=False)
    assert_close(sharing.rows[0].detach(), torch.full((3,), 1 / math.sqrt(3)))
    sharing.rows[0].data = torch.tensor([2.0, 0.0, -3.0])
    assert_close(sharing.alpha("a").detach(), torch.tensor([2.0, 0.0, -3.0]))
    assert sharing.penalty("a").item() == pytest.approx(2.5)
    assert sharing.figures()["share.a.second"] == 3.0
    assert "unit_length" not in lasso().options.model_dump()  # a key from before the option stays


def test_gradient_of_the_penalty_is_the_sign_projected_off_the_row() -> None:
    sharing = lasso(weight=0.3)
    row = torch.tensor([1.0, -2.0, 0.5])
    sharing.rows[0].data = row.clone()
    (gradient,) = torch.autograd.grad(sharing.penalty("a"), sharing.rows[0])
    # d |r / |r||_1 / dr = (sign(r) - (sign(r) . a) a) / |r| with a = r / |r|
    length = math.sqrt(1 + 4 + 0.25)
    alpha, signs = [value / length for value in row.tolist()], [1.0, -1.0, 1.0]
    along = sum(s * a for s, a in zip(signs, alpha, strict=True))
    expected = [0.3 * (s - along * a) / length for s, a in zip(signs, alpha, strict=True)]
    assert_close(gradient, torch.tensor(expected))
    assert torch.dot(gradient, row).abs() < 1e-6  # it turns the row, and does not shrink it


def test_the_penalty_alone_picks_one_unit_and_a_scaled_row_means_the_same() -> None:
    sharing = lasso(weight=1.0)
    sharing.rows[0].data = torch.tensor([1.0, 0.9, 0.8])
    optimizer = torch.optim.SGD(sharing.parameters(), lr=0.1)
    for _ in range(100):
        sharing.penalty("a").backward()
        optimizer.step()
        optimizer.zero_grad()
    assert sharing.penalty("a").item() < 1.1
    assert sharing.alpha("a")[0] > 0.99
    before = sharing.alpha("a").detach()
    sharing.rows[0].data *= 17.0
    assert_close(sharing.alpha("a").detach(), before)


def test_rows_are_of_unit_length_after_steps_and_after_a_load() -> None:
    encoder, sharing = UnitsEncoder(), lasso(weight=0.1)
    options = OptimizerOptions(learning_rate=0.1, momentum=0.9)
    optimizer = make_optimizer(options, *sharing.groups())
    for _ in range(5):
        loss = sharing.features(
            "a", sharing.maps(encoder, torch.randn(IMAGES), ["a"])
        ).square().mean() + sharing.penalty("a")
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert not torch.equal(sharing.rows[0], torch.ones(3))
    assert torch.equal(sharing.rows[1], torch.ones(3))  # steps of another task
    other = lasso()
    other.load_state_dict({name: tensor.double().float() for name, tensor in sharing.state_dict().items()})
    for task in TASKS:
        assert torch.equal(other.alpha(task), sharing.alpha(task))
        assert torch.linalg.vector_norm(other.alpha(task).detach()).item() == pytest.approx(1.0, abs=1e-6)


def test_groups_hold_every_parameter_once_rows_learn_faster_and_do_not_decay() -> None:
    sharing = lasso(lr_factor=7.0)
    optimizer = make_optimizer(OptimizerOptions(weight_decay=0.1), *sharing.groups())
    found = {
        id(p): (group["factor"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]
    }
    assert set(found) == {id(parameter) for parameter in sharing.parameters()}
    assert {found[id(row)] for row in sharing.rows} == {(7.0, 0.0)}
    assert {found[id(p)] for p in sharing.alignments.parameters()} == {(1.0, 0.1)}


def test_features_keep_the_precision_and_the_layout_of_z_and_rows_learn_in_float32() -> None:
    encoder, sharing = (module.to(memory_format=torch.channels_last) for module in (UnitsEncoder(), lasso()))
    images = torch.randn(IMAGES).contiguous(memory_format=torch.channels_last)
    exact = sharing.features("a", sharing.maps(encoder, images, ["a"]))
    with torch.autocast("cpu", torch.bfloat16):
        z, features = encoder(images), sharing.features("a", sharing.maps(encoder, images, ["a"]))
    assert features.dtype == z.dtype
    assert features.is_contiguous(memory_format=torch.channels_last)
    assert_close(features.float(), exact, rtol=0.05, atol=0.05)
    (features.float().square().mean() + sharing.penalty("a")).backward()
    assert sharing.rows[0].grad is not None
    assert sharing.rows[0].grad.dtype == torch.float32


def test_figures_are_the_magnitudes_by_task_and_unit() -> None:
    sharing = lasso()
    sharing.rows[1].data = torch.tensor([0.0, -3.0, 4.0])
    figures = sharing.figures()
    assert list(figures)[:3] == ["share.a.early", "share.a.middle", "share.a.second"]
    assert figures["share.b.c.middle"] == pytest.approx(0.6)
    assert figures["share.b.c.second"] == pytest.approx(0.8)
    assert figures["share.a.early"] == pytest.approx(1 / math.sqrt(3))


@pytest.mark.parametrize("name", BY_NAME)
def test_every_encoder_s_units_can_be_mixed(name: str) -> None:
    encoder: Encoder = registry.load("encoder", name)(registry.find("encoder", name).options()).eval()
    sharing, images = lasso(encoder), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        z, features = encoder(images), sharing.features("a", sharing.maps(encoder, images, ["a"]))
        assert sharing.units[-1] == list(encoder.layer_channels)[-1]
        assert features.shape == z.shape
        if len(sharing.units) == 1:
            assert torch.equal(features, z)  # hard sharing
        for row in sharing.rows:
            row.data = torch.eye(len(sharing.units))[-1]
        assert_close(sharing.features("a", sharing.maps(encoder, images, ["a"])), z)  # the last unit alone is z
