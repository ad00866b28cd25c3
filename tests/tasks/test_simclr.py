"""SimCLR: its loss and gradient against a double loop, its batches, and what it shows."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tessera.models.heads.vectors import ProjectionHead
from tessera.tasks.base import ImageStatistics, TaskBatch
from tessera.tasks.options.contrast import SimCLROptions
from tessera.tasks.simclr import SimCLR, similarities

CPU = torch.device("cpu")
STILL = {"least_area": 1.0, "flip": False, "color": 0.0, "gray": 0.0, "blur": 0.0}


def make(size: int = 32, batch_size: int | None = 6, **options: Any) -> SimCLR:
    statistics = ImageStatistics(size, (0.4, 0.5, 0.6), (0.2, 0.3, 0.1), batch_size=batch_size)
    return SimCLR(SimCLROptions(**options), statistics, {}, CPU)


def draw_batch(task: SimCLR, images: Tensor, seed: int = 0) -> TaskBatch:
    return task.make_batch(images, {}, torch.Generator().manual_seed(seed))


def noise(number: int, size: int = 32) -> Tensor:
    return torch.randint(256, (number, 3, size, size), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)


def partners(images: int) -> Tensor:
    """Views 2i and 2i + 1 are of one image."""
    return torch.tensor([row + 1 if row % 2 == 0 else row - 1 for row in range(2 * images)])


def nt_xent(vectors: Tensor, temperature: float) -> Tensor:
    """Algorithm 1 of the paper, pair by pair."""

    def cosine(i: int, k: int) -> Tensor:
        return vectors[i].dot(vectors[k]) / (vectors[i].norm() * vectors[k].norm())

    def pair(i: int, j: int) -> Tensor:
        others = [cosine(i, k) / temperature for k in range(len(vectors)) if k != i]
        return -(cosine(i, j) / temperature - torch.stack(others).exp().sum().log())

    images = len(vectors) // 2
    return torch.stack([pair(2 * i, 2 * i + 1) + pair(2 * i + 1, 2 * i) for i in range(images)]).sum() / (2 * images)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_the_loss_and_its_gradient_are_those_of_a_double_loop(temperature: float) -> None:
    slow = torch.randn(10, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    fast = slow.detach().float().requires_grad_()
    expected, found = nt_xent(slow, temperature), make(temperature=temperature).loss(fast, partners(5))
    assert_close(found.double(), expected, rtol=1e-5, atol=0)
    (wanted,), (gradient,) = torch.autograd.grad(expected, slow), torch.autograd.grad(found, fast)
    assert_close(gradient.double(), wanted, rtol=1e-4, atol=1e-6)


def test_the_loss_of_four_views_by_hand() -> None:
    """Two images whose views agree and stand at right angles: each view has one cosine of 1 and two of 0."""
    vectors = torch.tensor([[3.0, 0.0], [0.5, 0.0], [0.0, 2.0], [0.0, 7.0]])
    loss = make(temperature=0.5).loss(vectors, partners(2))
    assert loss.item() == pytest.approx(math.log(math.exp(2) + 2) - 2, abs=1e-6)


def test_only_the_direction_of_a_vector_counts() -> None:
    vectors = torch.randn(12, 5)
    task, lengths = make(), torch.rand(12, 1) + 0.1
    assert_close(task.loss(lengths * vectors, partners(6)), task.loss(vectors, partners(6)))
    order = torch.randperm(6)  # of images, which have no order
    shuffled = vectors.view(6, 2, 5)[order].flatten(0, 1)
    assert_close(task.loss(shuffled, partners(6)), task.loss(vectors, partners(6)))


def test_a_view_is_not_compared_with_itself() -> None:
    found = similarities(torch.randn(6, 4))
    assert found.diagonal().eq(-math.inf).all()
    assert found.fill_diagonal_(0).abs().max() <= 1 + 1e-6
    assert make().loss(torch.randn(6, 4).bfloat16(), partners(3)).dtype == torch.float32


def test_chance_is_what_equal_vectors_get() -> None:
    task, equal = make(batch_size=6), torch.ones(12, 4)
    chance = task.chance()
    assert task.loss(equal, partners(6)).item() == pytest.approx(chance["loss"], abs=1e-6)
    assert chance["accuracy"] == pytest.approx(1 / 11)
    assert task.metrics(equal, partners(6))["accuracy"] == 0  # a tie is no answer
    assert make(batch_size=None).chance() == {}


def test_random_vectors_are_right_as_often_as_chance_says() -> None:
    task = make(batch_size=6)
    found = [task.metrics(torch.randn(12, 20), partners(6))["accuracy"].item() for _ in range(500)]
    assert sum(found) / 500 == pytest.approx(1 / 11, abs=0.02)  # five standard errors


def test_accuracy_counts_the_views_whose_nearest_is_the_other_one() -> None:
    angles = torch.tensor([0.0, 10.0, 100.0, 130.0, 120.0, 240.0]).deg2rad()  # 2's nearest is 4, and so is 3's
    vectors = torch.stack([angles.cos(), angles.sin()], dim=1)
    # 0 and 1 find each other; 4 finds 3; 5 finds 3 before 4.
    assert make().metrics(vectors, partners(3))["accuracy"].item() == pytest.approx(2 / 6)


def test_the_two_views_of_an_image_lie_side_by_side() -> None:
    colors = torch.tensor([[30, 90, 200], [220, 10, 60], [70, 180, 20]], dtype=torch.uint8)
    images = colors[:, :, None, None].expand(3, 3, 32, 32)
    task = make(color=0.0, gray=0.0)
    batch = draw_batch(task, images)
    shown = (task.denormalize(batch.inputs)).flatten(2)
    assert (shown == colors.repeat_interleave(2, dim=0)[:, :, None]).all()
    assert torch.equal(batch.labels, partners(3))


def test_the_two_views_are_drawn_apart() -> None:
    first, second = draw_batch(make(), noise(16)).inputs.view(16, 2, 3, 32, 32).unbind(1)
    assert (first - second).abs().flatten(1).mean(dim=1).min() > 0.05
    one, same = draw_batch(make(**STILL), noise(4)).inputs.view(4, 2, 3, 32, 32).unbind(1)
    assert torch.equal(one, same)


@pytest.mark.parametrize(
    ("option", "value"), [("least_area", 0.3), ("flip", True), ("color", 0.5), ("gray", 1.0), ("blur", 1.0)]
)
def test_each_option_changes_what_is_seen(option: str, value: Any) -> None:
    images = noise(8)
    still, changed = (draw_batch(make(**chosen), images).inputs for chosen in (STILL, STILL | {option: value}))
    assert (still - changed).abs().max() > 0.1


def test_an_image_alone_has_nothing_to_be_told_from() -> None:
    with pytest.raises(ValueError, match="simclr tells an image from others of the batch, but it has one image"):
        draw_batch(make(), noise(1))


def test_views_that_agree_can_be_learned_without_colour_or_place() -> None:
    """A linear head on the mean colour: images of one colour each are told apart."""
    task = make(batch_size=8, color=0.0, gray=0.0, hidden=(), dim=3)
    images = (torch.rand(8, 3, 1, 1, generator=torch.Generator().manual_seed(1)) * 255).byte().expand(8, 3, 32, 32)
    batch, head = draw_batch(task, images), task.build_head(3)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        task.loss(head(batch.inputs), batch.labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert task.metrics(head(batch.inputs), batch.labels)["accuracy"] == 1
    assert task.chance()["accuracy"] < 0.1


def linear(head: nn.Module) -> list[tuple[int, int, bool]]:
    return [(m.in_features, m.out_features, m.bias is not None) for m in head.modules() if isinstance(m, nn.Linear)]


def test_the_projection_head() -> None:
    assert linear(make().build_head(64)) == [(64, 512, True), (512, 128, True)]
    assert linear(make(hidden=(), dim=9).build_head(4)) == [(4, 9, True)]
    normed = make(hidden=(6, 7), dim=5, batch_norm=True).build_head(4)
    assert linear(normed) == [(4, 6, False), (6, 7, False), (7, 5, False)]
    assert isinstance(normed, ProjectionHead)
    kinds = [type(layer).__name__ for layer in normed.layers]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d"]
    vectors = normed(torch.randn(32, 4, 2, 2))
    assert_close(vectors.mean(dim=0), torch.zeros(5), atol=1e-5, rtol=0)


def test_the_preview_shows_the_nearest_view() -> None:
    task, images = make(), noise(4)
    batch = draw_batch(task, images)
    pictures = task.denormalize(batch.inputs)
    angles = torch.tensor([0.0, 10.0, 90.0, 250.0, 100.0, 180.0, 270.0, 275.0]).deg2rad()  # 2 finds 4, not 3
    preview = task.preview(batch, torch.stack([angles.cos(), angles.sin()], dim=1), 3)
    assert list(preview.views) == ["shown", "nearest", "right"]
    assert torch.equal(preview.views["shown"], pictures[[0, 2, 4]])
    assert torch.equal(preview.views["nearest"], pictures[[1, 4, 2]])
    assert torch.equal(preview.views["right"], pictures[[1, 3, 5]])
    assert preview.caption == "1 of 3 views are nearest to the other one of their image, among 7."
