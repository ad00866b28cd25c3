"""Colorization against dense cross-entropy."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from tessera.data.store import Dataset, Split
from tessera.errors import DataError
from tessera.tasks.base import ImageStatistics
from tessera.tasks.color import annealed_mean, bin_centers, lab_from_rgb, sample_points
from tessera.tasks.colorization import Colorization, ColorLabels
from tessera.tasks.options.maps import ColorizationOptions

CPU = torch.device("cpu")


def colorful(number: int) -> Tensor:
    coarse = torch.rand(number, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    return (F.interpolate(coarse, size=(32, 32), mode="bilinear") * 255).to(torch.uint8)


def dataset(images: Tensor) -> Dataset:
    split = Split(images, torch.zeros(len(images), dtype=torch.long))
    return Dataset(("a",), 32, (0.5,) * 3, (0.2,) * 3, {"train": split, "test": split})


def make(images: Tensor, **options: Any) -> Colorization:
    chosen, source = ColorizationOptions(**options), dataset(images)
    prepared = Colorization.prepare(chosen, 32, source, torch.Generator().manual_seed(0))
    return Colorization(chosen, ImageStatistics.of(source), prepared, CPU)


def labels_of(task: Colorization, images: Tensor) -> ColorLabels:
    labels: ColorLabels = task.make_batch(images, {}, torch.Generator().manual_seed(4)).labels
    return labels


def dense(labels: ColorLabels, num_bins: int) -> Tensor:
    """(N, Q, g, g)."""
    number, _, grid, _ = labels.bins.shape
    return torch.zeros(number, num_bins, grid, grid).scatter_(1, labels.bins, labels.codes)


@pytest.mark.parametrize("bins", ["official313", "gamut_nn"])
def test_loss_and_gradient_are_those_of_the_dense_sum(bins: str) -> None:
    images = colorful(4)
    images[1] = images[1].float().mean(dim=0).to(torch.uint8)  # a gray one
    task = make(images, bins=bins)
    labels = labels_of(task, images)
    num_bins = len(bin_centers(task.options.bins))
    logits = torch.randn(4, num_bins, 16, 16, requires_grad=True)
    errors = F.cross_entropy(logits, dense(labels, num_bins), reduction="none")
    v = task.weights[dense(labels, num_bins).argmax(dim=1)]
    colored = torch.tensor([True, False, True, True])
    expected = (v * errors)[colored].mean()
    assert_close(task.loss(logits, labels), expected)
    mine = torch.autograd.grad(task.loss(logits, labels), logits)[0]
    assert_close(mine, torch.autograd.grad(expected, logits)[0])
    assert not mine[1].any()


def test_labels_are_the_views_own_colors() -> None:
    images = colorful(2)
    batch = make(images).make_batch(images, {}, torch.Generator().manual_seed(4))
    lightness = batch.inputs[:, 0] * 50 + 50
    assert torch.equal(batch.inputs[:, 0], batch.inputs[:, 2])
    # The same view, found among the flipped and shifted images by its lightness.
    for image, seen, ab in zip(images, lightness, batch.labels.ab, strict=True):
        framed = F.pad(image, (4, 4, 4, 4))
        found = 0
        for candidate in (framed, framed.flip(2)):
            for row in range(9):
                for column in range(9):
                    view = candidate[:, row : row + 32, column : column + 32]
                    lab = lab_from_rgb(view.movedim(0, -1).float() / 255).movedim(-1, 0)
                    if torch.allclose(lab[0], seen, atol=0.01):
                        found += 1
                        error = sample_points(lab[None, 1:], 16)[0] - ab
                        assert error.norm(dim=0).mean() < 1.5  # the table's levels
        assert found == 1


def test_a_batch_of_gray_images_costs_nothing() -> None:
    gray = torch.randint(256, (3, 1, 32, 32), dtype=torch.uint8).expand(-1, 3, -1, -1).contiguous()
    task = make(colorful(4))
    labels = labels_of(task, gray)
    prediction = torch.randn(3, 313, 16, 16)
    assert task.loss(prediction, labels) == 0
    assert task.metrics(prediction, labels)["accuracy"] == 0


def test_a_gray_dataset_is_refused() -> None:
    gray = torch.full((5, 3, 32, 32), 100, dtype=torch.uint8)
    with pytest.raises(DataError, match="all 5 training images looked at are gray"):
        make(gray)


def test_the_prior_is_read_from_the_asked_number_of_images() -> None:
    prepared = Colorization.prepare(
        ColorizationOptions(prior_images=3), 32, dataset(colorful(6)), torch.Generator().manual_seed(0)
    )
    assert prepared["counts"].sum() == 3 * 16 * 16
    assert_close(prepared["prior"].sum(), torch.tensor(1.0))
    assert (prepared["prior"] > 0).sum() > (prepared["counts"] > 0).sum()


def test_weights_have_mean_1_under_the_prior_and_favour_rare_colors() -> None:
    task = make(colorful(8))
    prior = task.prepared["prior"]
    assert_close((prior * task.weights).sum(), torch.tensor(1.0))
    occupied = prior > 0
    assert task.weights[occupied][prior[occupied].argmin()] == task.weights.max()
    assert task.weights[prior.argmax()] == task.weights.min()


@pytest.mark.parametrize("options", [{}, {"neighbors": 1}, {"rebalance": 1.0}])
def test_chance_is_that_of_the_best_constant(options: dict[str, Any]) -> None:
    images = colorful(40)
    task = make(images, **options)
    labels = labels_of(task, images)
    weighted = (dense(labels, 313) * labels.weights[:, None]).sum(dim=(0, 2, 3))
    logits = (weighted / weighted.sum()).log().clamp_min(-30)
    prediction = logits.view(1, -1, 1, 1).expand(40, -1, 16, 16)
    chance = task.chance()
    assert_close(chance["loss"], task.loss(prediction, labels).item(), rtol=0.06, atol=0)
    # No constant nearby is better.
    assert task.loss(prediction + 0.1 * torch.randn(1, 313, 1, 1), labels) > task.loss(prediction, labels)
    majority = labels.bins[:, 0].flatten().bincount().max() / labels.bins[:, 0].numel()
    assert_close(chance["accuracy"], majority.item(), rtol=0.1, atol=0)
    assert_close(chance["ab_rmse"], labels.ab.square().sum(dim=1).mean().sqrt().item(), rtol=0.1, atol=0)


def test_metrics() -> None:
    images = colorful(3)
    task = make(images)
    labels = labels_of(task, images)
    sure = 50.0 * F.one_hot(labels.bins[:, 0], 313).movedim(-1, 1).float()
    metrics = task.metrics(sure, labels)
    assert metrics["accuracy"] == 1
    centers = bin_centers("official313")[labels.bins[:, 0]].movedim(-1, 1)
    assert_close(annealed_mean(sure, task.centers), centers)
    assert_close(metrics["ab_rmse"], (centers - labels.ab).square().sum(dim=1).mean().sqrt())
    assert metrics["ab_rmse"] < 7.1  # half a bin's diagonal
