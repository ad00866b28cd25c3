"""Omega: filter, normalisation, anchors, weight."""

from typing import Any

import pytest
import torch
from multitask_stand_ins import TinyEncoder, pass_of
from torch import Tensor
from torch.testing import assert_close

from tessera.multitask.batch_norm import batch_statistics
from tessera.multitask.regularizers.distances import DISTANCES
from tessera.multitask.regularizers.divergence import Divergence
from tessera.multitask.regularizers.filters import ChannelDistribution
from tessera.multitask.regularizers.options import DivergenceOptions

METRICS = ("kld", "reverse_kld", "jsd", "hellinger", "jeffrey", "chi2", "wasserstein", "wasserstein_values")


def value(regularizer: Divergence, encoder: TinyEncoder, images: Tensor) -> Tensor:
    result: Tensor = regularizer(pass_of(encoder(images), by_encoder=lambda other: other(images)))
    return result


def divergence(**options: Any) -> Divergence:
    return Divergence(DivergenceOptions(**options), 6, {})


def by_hand(image: Tensor, score: str, normalization: str) -> list[float]:
    """One image's channel shares, written out with plain loops."""
    channels = image.flatten(1).tolist()
    places = len(channels[0])
    logits = [sum(c[i] for c in channels) / len(channels) if score == "attention" else 0.0 for i in range(places)]
    weights = torch.tensor(logits, dtype=torch.float64).softmax(0).tolist()
    vector = [sum(w * x for w, x in zip(weights, c, strict=True)) for c in channels]
    mean = sum(vector) / len(vector)
    std = (sum((x - mean) ** 2 for x in vector) / len(vector)) ** 0.5
    if normalization == "l1":
        parts = [max(x, 0.0) + 1e-6 for x in vector]
        return [x / sum(parts) for x in parts]
    standard = [(x - mean) / (std + 1e-5) for x in vector] if normalization == "softmax_std" else vector
    return torch.tensor(standard, dtype=torch.float64).softmax(0).tolist()


@pytest.mark.parametrize("score", ["attention", "gap"])
@pytest.mark.parametrize("normalization", ["softmax_std", "softmax", "l1"])
def test_distribution_over_channels_by_hand(score: str, normalization: str) -> None:
    features = torch.randn(3, 6, 4, 5)
    shares = ChannelDistribution(score, normalization, 6)(features)
    expected = torch.tensor([by_hand(image, score, normalization) for image in features])
    assert_close(shares, expected, rtol=1e-4, atol=1e-6)


def test_default_distribution_is_blind_to_scale_and_finite_for_dead_features() -> None:
    distribution = ChannelDistribution("gap", "softmax_std", 6)
    features = torch.rand(3, 6, 4, 4)
    assert_close(distribution(features), distribution(10 * features + 3), rtol=1e-3, atol=1e-5)
    dead = torch.zeros(2, 6, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(distribution(dead)[:, 0].sum(), dead)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("score", ["attention", "gap", "learned"])
def test_previous_encoder_gives_zero_until_the_weights_move(metric: str, score: str) -> None:
    encoder, images = TinyEncoder(), torch.randn(8, 3, 16, 16)
    regularizer = divergence(metric=metric, filter=score)
    regularizer.begin_epoch(encoder, 0)
    assert value(regularizer, encoder, images) == 0.0  # it would hold to random weights
    regularizer.begin_epoch(encoder, 1)
    start = value(regularizer, encoder, images)
    assert start.item() == pytest.approx(0.0, abs=2e-6)
    gradients = torch.autograd.grad(start, list(encoder.parameters()), allow_unused=True)
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)
    with torch.no_grad():
        encoder.norm2.weight.mul_(torch.tensor([1.0, 3.0, 0.2, 1.0, 2.0, 1.0]))
    moved = value(regularizer, encoder, images)
    assert moved.item() > 1e-4
    regularizer.begin_epoch(encoder, 2)
    again = value(regularizer, encoder, images)
    assert again.item() == pytest.approx(0.0, abs=2e-6)


def test_previous_encoder_gets_no_gradient_and_is_neither_trained_nor_saved() -> None:
    encoder, regularizer = TinyEncoder(), divergence(filter="learned")
    regularizer.begin_epoch(encoder, 1)
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        encoder.conv2.weight.add_(0.3)
    result = value(regularizer, encoder, images)
    result.backward()
    assert [name for name, _ in regularizer.named_parameters()] == ["distribution.filter.mixture.weight"]
    assert list(regularizer.state_dict()) == ["distribution.filter.mixture.weight"]
    assert regularizer.distribution.filter.mixture.weight.grad.abs().sum() > 0  # type: ignore[union-attr,operator]


def test_weight_multiplies_and_zero_costs_nothing() -> None:
    encoder, images = TinyEncoder(), torch.randn(4, 3, 16, 16)
    one, three = (value(divergence(anchor="prior_uniform", weight=weight), encoder, images) for weight in (1.0, 3.0))
    assert_close(three, 3 * one)
    assert value(divergence(anchor="prior_uniform", weight=0.0), encoder, images) == 0.0


def test_uniform_prior_is_log_c_minus_entropy() -> None:
    encoder, images = TinyEncoder(), torch.randn(4, 3, 16, 16)
    regularizer = divergence(anchor="prior_uniform", filter="gap")
    with batch_statistics(encoder):
        shares = regularizer.distribution(encoder(images))
        expected = torch.log(torch.tensor(6.0)) + (shares * shares.log()).sum(dim=1).mean()
        result = value(regularizer, encoder, images)
    assert_close(result, expected, rtol=1e-4, atol=1e-6)


def test_gaussian_prior_follows_its_seed_alone() -> None:
    priors = [divergence(anchor="prior_gaussian", seed=seed).anchor.prior for seed in (0, 0, 1)]
    assert_close(priors[0], priors[1], rtol=0, atol=0)
    assert not torch.allclose(priors[0], priors[2])  # type: ignore[arg-type]
    assert priors[0].sum().item() == pytest.approx(1.0)  # type: ignore[operator]


def test_running_mean_starts_at_the_first_batch_decays_and_is_saved() -> None:
    regularizer = divergence(anchor="running_mean", decay=0.9, filter="gap")
    batches = [torch.randn(4, 6, 3, 3) for _ in range(3)]
    means = [regularizer.distribution(batch).mean(dim=0) for batch in batches]
    expected = means[0]
    for batch, mean in zip(batches, means, strict=True):
        regularizer(pass_of(batch))
        expected = 0.9 * expected + 0.1 * mean
    assert_close(regularizer.anchor.mean, expected)
    restored = divergence(anchor="running_mean", decay=0.9, filter="gap")
    restored.load_state_dict(regularizer.state_dict())
    more = torch.randn(4, 6, 3, 3)
    assert_close(restored(pass_of(more)), regularizer(pass_of(more)), rtol=0, atol=0)


@pytest.mark.parametrize("metric", METRICS)
def test_metric_is_float32_under_autocast(metric: str) -> None:
    # The learned filter is a convolution, which autocast would compute in bfloat16, to two or three digits.
    regularizer = divergence(anchor="prior_gaussian", filter="learned", metric=metric)
    features = torch.randn(4, 6, 3, 3).bfloat16()
    mixture = regularizer.distribution.filter.mixture.weight.flatten()  # type: ignore[union-attr,operator]
    exact = features.double()
    weights = torch.einsum("mchw,c->mhw", exact, mixture.double()).flatten(1).softmax(dim=1)
    vectors = torch.einsum("mcp,mp->mc", exact.flatten(2), weights)
    deviation = vectors.std(dim=1, correction=0, keepdim=True)
    standard = (vectors - vectors.mean(dim=1, keepdim=True)) / (deviation + 1e-5)
    prior = regularizer.anchor.prior.double()  # type: ignore[operator]
    expected = DISTANCES[metric](standard.softmax(dim=1), prior).mean().float()
    with torch.autocast("cpu", torch.bfloat16):
        result = regularizer(pass_of(features))
    assert result.dtype == torch.float32
    assert_close(result, expected, rtol=1e-5, atol=0)


def test_no_gradient_flows_through_the_anchor() -> None:
    encoder, regularizer = TinyEncoder(), divergence(filter="learned")
    regularizer.begin_epoch(encoder, 1)
    images = torch.randn(4, 3, 16, 16)
    old = encoder(images).detach()
    with torch.no_grad():
        encoder.conv2.weight.add_(0.3 * torch.randn_like(encoder.conv2.weight))
    weights = list(regularizer.parameters())
    (gradient,) = torch.autograd.grad(value(regularizer, encoder, images), weights)
    shares, anchor = regularizer.distribution(encoder(images)), regularizer.distribution(old).detach()
    (expected,) = torch.autograd.grad((shares * (shares / anchor).log()).sum(dim=1).mean(), weights)
    assert_close(gradient, expected, rtol=1e-3, atol=1e-7)
    assert expected.abs().sum() > 1e-4
