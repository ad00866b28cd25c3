"""Reconstruction against plain loops and closed forms."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tessera.models.heads.maps import Rebuilt
from tessera.tasks.base import ImageStatistics
from tessera.tasks.options.maps import ReconstructionOptions
from tessera.tasks.reconstruction import DIVERGENCES, Reconstruction, entropy, sparsity

STATISTICS = ImageStatistics(32, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))


def make(**options: Any) -> Reconstruction:
    return Reconstruction(ReconstructionOptions(**options), STATISTICS, {}, torch.device("cpu"))


def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image, label = torch.rand(2, 2, 3, 4, 4, generator=generator, dtype=torch.float64)
    label[0, 0, 0, :2] = torch.tensor([0.0, 1.0])  # black and saturated pixels
    return image * 0.98 + 0.01, label


def mean_over_pixels(function: Callable[[float, float], float]) -> float:
    image, label = pair()
    values = [
        function(p, max(y, 1 / 255)) for p, y in zip(image.flatten().tolist(), label.flatten().tolist(), strict=True)
    ]
    return sum(values) / len(values)


def bernoulli(p: float, y: float) -> float:
    y = min(y, 254 / 255)
    return p * math.log(p / y) + (1 - p) * math.log((1 - p) / (1 - y))


def spatial() -> float:
    image, label = pair()
    total = 0.0
    for p, y in zip(image.flatten(0, 1), label.clamp_min(1 / 255).flatten(0, 1), strict=True):
        shares = (p / p.sum()).flatten().tolist(), (y / y.sum()).flatten().tolist()
        total += sum(a * math.log(a / b) for a, b in zip(*shares, strict=True))
    return total / (2 * 3)


ORACLES: dict[str, Callable[[], float]] = {
    "generalised": lambda: mean_over_pixels(lambda p, y: p * math.log(p / y) - p + y),
    "bernoulli": lambda: mean_over_pixels(bernoulli),
    "spatial": spatial,
    "literal": lambda: mean_over_pixels(lambda p, y: p * math.log(p / y)),
}


@pytest.mark.parametrize("kl", DIVERGENCES)
def test_divergences_by_plain_loops(kl: str) -> None:
    assert_close(DIVERGENCES[kl](*pair()).item(), ORACLES[kl](), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kl", DIVERGENCES)
def test_gradients_of_divergences(kl: str) -> None:
    image, label = pair()
    assert torch.autograd.gradcheck(lambda p: DIVERGENCES[kl](p, label), image.requires_grad_())


@pytest.mark.parametrize("kl", ["generalised", "bernoulli", "spatial"])
def test_divergences_are_least_at_the_image_itself(kl: str) -> None:
    label = torch.rand(2, 3, 8, 8) * 0.9 + 0.05
    same = DIVERGENCES[kl](label, label)
    assert abs(same) < 1e-5
    assert DIVERGENCES[kl]((label + 0.05 * torch.randn_like(label)).clamp(0.01, 0.99), label) > same + 1e-4


def test_the_literal_reading_darkens() -> None:
    label = torch.full((1, 3, 2, 2), 0.5)
    values = {p: DIVERGENCES["literal"](torch.full_like(label, p), label).item() for p in (0.1, 0.5 / math.e, 0.3, 0.5)}
    assert min(values, key=lambda p: values[p]) == 0.5 / math.e


@pytest.mark.parametrize("kl", DIVERGENCES)
def test_gradients_at_black_and_white_are_finite(kl: str) -> None:
    image = torch.tensor([0.0, 1.0, 0.5]).view(1, 3, 1, 1).expand(1, 3, 2, 2).clone().requires_grad_()
    label = torch.tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    (gradient,) = torch.autograd.grad(DIVERGENCES[kl](image, label) + entropy(image), image)
    assert gradient.isfinite().all()


FLAT = {"black": 0.0, "white": 1.0, "gray": 0.5, "one level": 1 / 255}


@pytest.mark.parametrize("kl", DIVERGENCES)
@pytest.mark.parametrize("logit", [-1e4, -120.0, -80.0, -14.0, 0.0, 14.0, 1e4])
@pytest.mark.parametrize("flat", FLAT)
def test_flat_images_and_saturated_heads_cost_no_more_than_a_large_number(kl: str, logit: float, flat: str) -> None:
    # A head ends in a sigmoid, which is 0 or 1 in float32 from some logit on: in all channels, or in one of three.
    label = torch.full((2, 3, 8, 8), FLAT[flat])
    for channels in (1, 3):
        logits = torch.zeros(2, 3, 8, 8)
        logits[:, :channels] = logit
        logits.requires_grad_()
        loss = make(kl=kl).loss(Rebuilt(logits.sigmoid(), torch.rand(2, 5)), label)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite()
        assert abs(loss) < 20  # log(1e6) is 13.8, and squares and entropies are below 2
        assert gradient.isfinite().all()
        assert gradient.abs().sum() < 20


def test_a_dark_channel_is_an_even_one_in_shares_of_light() -> None:
    label = torch.rand(2, 3, 8, 8) * 0.9 + 0.05
    dark = DIVERGENCES["spatial"](torch.zeros_like(label), label)
    assert_close(dark, DIVERGENCES["spatial"](torch.full_like(label, 0.5), label))
    assert dark > 0.01, "darkness is no way to a low loss"


def test_entropy_and_its_bound() -> None:
    assert_close(entropy(torch.tensor([0.5, 0.25])).item(), (0.5 * math.log(2) + 0.25 * math.log(4)) / 2, atol=1e-5,
                 rtol=0)  # fmt: skip
    assert entropy(torch.full((9,), 1 / math.e)) <= 1 / math.e + 1e-6


@pytest.mark.parametrize(("mean", "divergence"), [(0.05, 0.0), (0.2, 0.093943), (0.5, 0.494632)])
def test_sparsity(mean: float, divergence: float) -> None:
    features = -torch.log1p(-torch.full((4, 3), mean))  # 1 - exp(-z) is the mean activation
    assert_close(sparsity(features, 0.05).item(), divergence, atol=1e-5, rtol=0)
    # Mean over the batch first, mean over units last.
    mixed = -torch.log1p(-torch.tensor([[mean, 0.05], [mean, 0.05]]))
    assert_close(sparsity(mixed, 0.05).item(), divergence / 2, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kl", DIVERGENCES)
def test_the_loss_sums_its_parts(kl: str) -> None:
    image, label = (part.float() for part in pair())
    features = torch.rand(2, 5)
    task = make(kl=kl, entropy_weight=0.1, sparse_weight=2.0, sparse_target=0.1)
    squared = 0.5 * sum((a - b) ** 2 for a, b in zip(image.flatten().tolist(), label.flatten().tolist(), strict=True))
    expected = squared / (2 * 16) + ORACLES[kl]() + 0.1 * entropy(image).item() + 2 * sparsity(features, 0.1).item()
    assert_close(task.loss(Rebuilt(image, features), label).item(), expected, rtol=1e-4, atol=1e-5)


def test_sparsity_reaches_the_features() -> None:
    features = torch.rand(2, 5).requires_grad_()
    make(sparse_weight=1.0).loss(Rebuilt(torch.rand(2, 3, 4, 4), features), torch.rand(2, 3, 4, 4)).backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    assert features.grad.any()


def test_noise_is_on_the_input_alone() -> None:
    images = torch.randint(256, (20, 3, 32, 32), dtype=torch.uint8)
    clean, noisy = (make(noise=noise).make_batch(images, {}, torch.Generator().manual_seed(0)) for noise in (0.0, 0.1))
    assert torch.equal(clean.labels, noisy.labels)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (STATISTICS.mean, STATISTICS.std))
    assert_close(clean.inputs * std + mean, clean.labels, atol=1e-5, rtol=1e-5)
    noise = (noisy.inputs - clean.inputs) * std
    assert abs(noise.std() - 0.1) < 0.002
    assert abs(noise.mean()) < 0.002


def test_chance_is_the_error_of_the_mean_color() -> None:
    label = torch.randn(50, 3, 16, 16) * torch.tensor(STATISTICS.std).view(1, 3, 1, 1) + 0.5
    constant = label.mean(dim=(0, 2, 3), keepdim=True).expand_as(label)
    figures = make().metrics(Rebuilt(constant, torch.zeros(50, 1)), label)
    assert_close(figures["rmse"].item(), make().chance()["rmse"], rtol=0.01, atol=0)


def test_the_image_is_float32_within_0_and_1_even_under_autocast() -> None:
    head = make().build_head(4)
    with torch.autocast("cpu", torch.bfloat16):
        image = head(torch.randn(2, 4, 8, 8)).image
    assert image.dtype == torch.float32
    assert image.shape == (2, 3, 32, 32)
    assert ((image > 0) & (image < 1)).all()
