"""Losses of one layer's maps, each against loops over plain numbers."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from slow_losses import Numbers, check
from tessera.transfer.attention import attention_loss
from tessera.transfer.nst import nst_loss
from tessera.transfer.vid import SMALLEST_VARIANCE, Variational, gaussian_nll


def maps(channels: int, height: int, width: int) -> Tensor:
    return torch.randn(2, channels, height, width, dtype=torch.float64)


def unit(numbers: list[float]) -> list[float]:
    return [number / math.hypot(*numbers) for number in numbers]


@pytest.mark.parametrize("power", [1.0, 2.0, 3.5])
def test_attention_is_a_sum_over_channels_of_unit_length(power: float) -> None:
    teacher = maps(4, 3, 2)

    def attention(image: Numbers) -> list[float]:
        pixels = image.reshape(len(image), -1).T.tolist()
        return unit([sum(abs(value) ** power for value in pixel) for pixel in pixels])

    def slow(student: Numbers) -> float:
        gaps = [
            (a - b) ** 2
            for ours, theirs in zip(student, teacher.numpy(), strict=True)
            for a, b in zip(attention(ours), attention(theirs), strict=True)
        ]
        return sum(gaps) / len(gaps)

    check(lambda student: attention_loss(student, teacher, power), slow, maps(3, 3, 2))


def test_a_dead_map_has_no_attention_and_a_finite_gradient() -> None:
    student = torch.zeros(2, 3, 4, 4, requires_grad=True)
    attention_loss(student, torch.zeros(2, 3, 4, 4), 2.0).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert student.grad.isfinite().all()


@pytest.mark.parametrize(("height", "width"), [(1, 2), (3, 2), (2, 4)])  # of positions, and of channels
def test_nst_is_the_discrepancy_of_the_channels(height: int, width: int) -> None:
    teacher = maps(5, height, width)

    def slow(student: Numbers) -> float:
        total = 0.0
        for ours, theirs in zip(student, teacher.numpy(), strict=True):
            s, t = ([unit(c.flatten().tolist()) for c in channels] for channels in (ours, theirs))

            def mean(first: list[list[float]], second: list[list[float]]) -> float:
                kernel = [sum(x * y for x, y in zip(a, b, strict=True)) ** 2 for a in first for b in second]
                return sum(kernel) / len(kernel)

            total += mean(t, t) + mean(s, s) - 2 * mean(s, t)
        return total / len(student)

    check(lambda student: nst_loss(student, teacher), slow, maps(3, height, width))
    assert_close(nst_loss(teacher[:, [0, 0, 1, 2, 3, 4, 1, 2, 3, 4]], teacher), nst_loss(teacher, teacher))


def test_vid_is_the_negative_log_likelihood_of_a_gaussian() -> None:
    mean, target, variance = maps(3, 2, 2), maps(3, 2, 2), torch.rand(3, dtype=torch.float64) + 0.1
    mean.requires_grad_()
    variance.requires_grad_()
    broadcast = variance[:, None, None]
    found = gaussian_nll(mean, target, broadcast)
    expected = nn.GaussianNLLLoss(full=False)(mean, target, broadcast.expand_as(mean))
    assert_close(found, expected, rtol=1e-12, atol=0)
    gradients = torch.autograd.grad(found, (mean, variance))
    assert_close(gradients, torch.autograd.grad(expected, (mean, variance)), rtol=1e-10, atol=1e-14)
    assert torch.autograd.gradcheck(lambda m, v: gaussian_nll(m, target, v[:, None, None]), (mean, variance))


def test_vid_starts_at_a_variance_of_five_with_one_number_a_channel() -> None:
    variational = Variational(student=3, teacher=4)
    assert [tuple(p.shape) for p in variational.parameters()] == [(4,), (4, 3, 1, 1), (4, 4, 1, 1), (4, 4, 1, 1)]
    student, teacher = torch.randn(2, 3, 5, 5), torch.randn(2, 4, 5, 5)
    gap = (variational.mean(student) - teacher).square().mean().item()
    assert variational(student, teacher).item() == pytest.approx((math.log(5) + gap / 5) / 2, rel=1e-5)
    assert [type(layer) for layer in Variational(3, 4, depth=1).mean] == [nn.Conv2d]  # linear


def test_vid_is_least_where_the_variances_are_the_mean_squares() -> None:
    variational = Variational(student=2, teacher=2, depth=1)
    student = torch.randn(50, 2, 2, 2)
    teacher = student + torch.tensor([0.3, 2.0])[:, None, None] * torch.randn_like(student)
    squares = (variational.mean(student) - teacher).square().mean(dim=(0, 2, 3)).detach()
    variational.rho.data = (squares - SMALLEST_VARIANCE).expm1().log()  # the inverse of softplus
    (gradient,) = torch.autograd.grad(variational(student, teacher), variational.rho)
    assert gradient.abs().max() < 1e-6
