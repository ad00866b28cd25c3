"""Distortions of a batch against torchvision image by image, `colorsys`, and torchvision's own draws."""

import colorsys
from typing import Any

import pytest
import torch
import torchvision.transforms.functional as F
from scipy.stats import chisquare, ks_2samp
from torch import Tensor
from torch.testing import assert_close
from torchvision.transforms import RandomResizedCrop

from tessera.data.distortions import (
    BRIGHTNESS,
    CONTRAST,
    SATURATION,
    Distortions,
    Strengths,
    blur,
    blur_radius,
    crop_and_resize,
    draw,
    draw_crops,
    jitter_colors,
    turn_hues,
)

CHANGES = {BRIGHTNESS: F.adjust_brightness, CONTRAST: F.adjust_contrast, SATURATION: F.adjust_saturation}
STRONG = Strengths(least_area=0.08, flip=True, color=1.0, jitter=0.8, gray=0.3, blur=0.5)
DRAWS = 6000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(number: int, side: int) -> Tensor:
    return torch.randint(256, (number, 3, side, side), generator=generator(5), dtype=torch.uint8)


def drawn(**changes: Any) -> Distortions:
    return draw(DRAWS, 32, generator(), STRONG._replace(**changes))


def one_by_one(images: Tensor, distortions: Distortions, size: int) -> Tensor:
    """torchvision's functions in the order that was drawn."""
    found = []
    for image, (box, flip, kinds, factors, before, hue, gray, sigma) in zip(
        images, zip(*distortions, strict=True), strict=True
    ):
        top, left, height, width = box.tolist()
        view = F.resized_crop(image / 255, top, left, height, width, [size, size], antialias=True)
        view = F.hflip(view) if flip else view
        changes = [(CHANGES[kind], factor) for kind, factor in zip(kinds.tolist(), factors.tolist(), strict=True)]
        changes.insert(int(before), (F.adjust_hue, hue.item()))
        for change, amount in changes:
            view = change(view, amount)
        view = F.rgb_to_grayscale(view, num_output_channels=3) if gray else view
        kernel = 2 * blur_radius(size) + 1
        found.append(F.gaussian_blur(view, [kernel, kernel], [sigma.item()] * 2) if sigma > 0 else view)
    return torch.stack(found)


@pytest.mark.parametrize(("side", "size"), [(32, 32), (16, 40), (48, 20)])  # 48 to 20 px needs the antialias
def test_each_image_is_distorted_as_torchvision_distorts_one(side: int, size: int) -> None:
    images, distortions = noise(40, side), draw(40, side, generator(1), STRONG)
    assert len({tuple(row) for row in distortions.boxes.tolist()}) > 30
    found = distortions.of(images, size)
    assert found.shape == (40, 3, size, size)
    assert_close(found, one_by_one(images, distortions, size), atol=1e-4, rtol=0)


def test_nothing_is_distorted_where_nothing_is_asked_for() -> None:
    images = noise(8, 16)
    still = Strengths(least_area=1.0, flip=False, color=0.0, jitter=0.0, gray=0.0, blur=0.0)
    assert_close(draw(8, 16, generator(), still).of(images, 16), images / 255, atol=1e-5, rtol=0)


def test_a_flip_mirrors_the_crop_and_not_the_image() -> None:
    pixels = torch.arange(64.0).view(1, 1, 8, 8).expand(2, 3, 8, 8) / 64
    boxes = torch.tensor([[2, 1, 4, 3]] * 2)
    straight, mirrored = crop_and_resize(pixels, boxes, torch.tensor([False, True]), 4)
    assert torch.equal(straight.flip(2), mirrored)
    assert_close(straight[0, :, 0].diff(), torch.full((3,), 8 / 64))  # rows are as they were: four of four


def test_hues_turn_as_in_colorsys() -> None:
    colors = [*noise(1, 6)[0].flatten(1).T.div(255).tolist(), (0, 0, 0), (1, 1, 1), (0.3, 0.3, 0.3)]
    colors += [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1), (0.5, 0.5, 0.2)]
    pixels = torch.tensor(colors).T[None, :, None]  # (1, 3, 1, n)
    for turn in (-0.5, -0.1, 0.0, 0.03, 0.5):
        expected = []
        for color in colors:
            hue, saturation, value = colorsys.rgb_to_hsv(*color)
            expected.append(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value))
        found = turn_hues(pixels, torch.tensor([turn]))[0, :, 0].T
        assert_close(found, torch.tensor(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("before", range(4))
def test_what_an_image_does_not_take_part_in_changes_no_bit(before: int) -> None:
    pixels = noise(4, 8) / 255
    kinds = torch.tensor([0, 1, 2]).expand(4, 3)
    found = jitter_colors(pixels, kinds, torch.ones(4, 3), torch.full((4,), before), torch.zeros(4))
    assert_close(found, pixels, atol=1e-6, rtol=0)
    assert torch.equal(blur(pixels, torch.zeros(4)), pixels)


def test_crops_are_spread_as_those_of_torchvision() -> None:
    side = 224  # so large that rounding to pixels ties few
    torch.manual_seed(3)
    image = torch.empty(3, side, side)
    theirs = torch.tensor([RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(2500)])
    ours = draw_crops(2500, side, generator(), 0.08)

    def figures(boxes: Tensor) -> dict[str, Tensor]:
        top, left, height, width = boxes.double().unbind(1)
        return {
            "area": height * width,
            "shape": (width / height).log(),
            "top": top / (side - height + 1),
            "left": left / (side - width + 1),
            "right": left + width,
        }

    for (name, one), other in zip(figures(ours).items(), figures(theirs).values(), strict=True):
        assert ks_2samp(one, other).pvalue > 0.01, name
    assert (ours[:, :2] + ours[:, 2:]).max() == side
    assert ours.min() == 0


@pytest.mark.parametrize("least_area", [0.001, 0.9, 1.0])
def test_crops_lie_in_the_image_whatever_is_asked_for(least_area: float) -> None:
    boxes = draw_crops(2000, 8, generator(), least_area)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= 8).all()


def test_the_four_changes_of_colour_come_in_every_order() -> None:
    distortions = drawn(jitter=1.0)
    orders: dict[tuple[int, ...], int] = {}
    for kinds, before in zip(distortions.kinds.tolist(), distortions.before.tolist(), strict=True):
        kinds.insert(before, 3)
        orders[tuple(kinds)] = orders.get(tuple(kinds), 0) + 1
    assert len(orders) == 24
    assert chisquare(list(orders.values())).pvalue > 0.01


def test_factors_fill_their_range_and_no_more() -> None:
    distortions = drawn(jitter=1.0, color=0.5)
    for values, low, high in ((distortions.factors, 0.6, 1.4), (distortions.hues, -0.1, 0.1)):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high >= values.max() > high - 0.01 * (high - low)
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.02 * (high - low))
    assert drawn(jitter=1.0, color=2.0).factors.min() >= 0  # not below black
    assert drawn(color=0.0).factors.eq(1).all()


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_changes_happen_as_often_as_asked_for(probability: float) -> None:
    distortions = drawn(jitter=probability, gray=probability, blur=probability)
    jittered = (distortions.factors != 1).all(dim=1)
    assert torch.equal(jittered, distortions.hues != 0)
    for happened in (jittered, distortions.grays, distortions.sigmas > 0):
        # Five standard deviations of a share.
        deviation = 5 * (probability * (1 - probability) / DRAWS) ** 0.5
        assert happened.float().mean() == pytest.approx(probability, abs=deviation + 1e-9)
    assert distortions.flips.float().mean() == pytest.approx(0.5, abs=5 * 0.5 / DRAWS**0.5)
    assert not drawn(flip=False).flips.any()


@pytest.mark.parametrize(("side", "radius"), [(4, 1), (32, 1), (96, 4), (224, 11)])
def test_the_kernel_of_the_blur_is_a_tenth_of_the_image(side: int, radius: int) -> None:
    assert blur_radius(side) == radius
