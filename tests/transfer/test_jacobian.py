"""Jacobian matching against finite differences."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tessera.transfer.jacobian import jacobian_loss, largest_attention, unit_jacobian


@pytest.fixture
def network() -> nn.Sequential:
    """Smooth, and without batch norm, so that differences of it are exact."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Conv2d(4, 2, 3)).double()


def differences(network: nn.Module, pixels: Tensor) -> Tensor:
    """The unit Jacobian of each image's largest attention, by central differences."""
    step, rows = 1e-6, []
    for image in pixels:
        numbers = torch.zeros(image.numel(), dtype=torch.float64)
        for place in range(image.numel()):
            moved = torch.zeros_like(numbers)
            moved[place] = step
            sides = [
                (network((image + side * moved.view_as(image))[None])[0] ** 2).sum(dim=0).max().item()
                for side in (1, -1)
            ]
            numbers[place] = (sides[0] - sides[1]) / (2 * step)
        rows.append(numbers / numbers.norm())
    return torch.stack(rows)


@pytest.fixture
def pixels() -> Tensor:
    return torch.rand(2, 3, 5, 5, dtype=torch.float64).requires_grad_()


def test_the_jacobian_is_that_of_finite_differences(network: nn.Module, pixels: Tensor) -> None:
    found = unit_jacobian(largest_attention(network(pixels)), pixels, differentiable=False)
    assert not found.requires_grad
    with torch.no_grad():
        assert_close(found, differences(network, pixels), rtol=0, atol=1e-8)


def test_its_loss_is_differentiated_a_second_time(network: nn.Sequential, pixels: Tensor) -> None:
    teacher = nn.Sequential(nn.Conv2d(3, 2, 3)).double()
    theirs = unit_jacobian(largest_attention(teacher(pixels)), pixels, differentiable=False)

    def loss() -> Tensor:
        ours = unit_jacobian(largest_attention(network(pixels)), pixels, differentiable=True)
        return jacobian_loss(ours, theirs)

    with torch.no_grad():
        gaps = differences(network, pixels) - differences(teacher, pixels)
    found = loss()
    assert found.item() == pytest.approx(gaps.square().sum().item() / 2, rel=1e-6)
    weight = network[0].weight
    (gradient,) = torch.autograd.grad(found, weight)
    for index in [(0, 0, 0, 0), (3, 2, 1, 2), (1, 1, 2, 0)]:
        sides = []
        for side in (1e-5, -1e-5):
            weight.data[index] += side
            sides.append(loss().item())
            weight.data[index] -= side
        assert gradient[index].item() == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-6, abs=1e-9)


def test_an_answer_that_no_pixel_moves_has_the_jacobian_zero(pixels: Tensor) -> None:
    weight = torch.zeros((), dtype=torch.float64, requires_grad=True)
    found = unit_jacobian(weight * pixels.flatten(1).sum(dim=1), pixels, differentiable=True)
    assert found.abs().max() == 0
    (gradient,) = torch.autograd.grad(jacobian_loss(found, torch.ones_like(found)), weight)
    assert gradient.isfinite()
