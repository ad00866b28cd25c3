"""Views against a slow loop over images."""

import pytest
import torch
from torch import Tensor

from tessera.data.views import flip_and_crop, to_unit


def random_images(number: int, height: int = 9, width: int = 7) -> Tensor:
    return torch.randint(256, (number, 3, height, width), dtype=torch.uint8)


def oracle(images: Tensor, generator: torch.Generator, padding: int) -> Tensor:
    number, _, height, width = images.shape
    flips = torch.randint(2, (number,), generator=generator).tolist()
    offsets = torch.randint(2 * padding + 1, (2, number), generator=generator).tolist()
    return crops(images, flips, offsets, padding, height, width)


def crops(images: Tensor, flips: list[int], offsets: list[list[int]], padding: int, height: int, width: int) -> Tensor:
    views = []
    for image, flip, down, right in zip(images, flips, *offsets, strict=True):
        rows, columns = image.shape[1:]
        frame = torch.zeros(3, rows + 2 * padding, columns + 2 * padding, dtype=torch.uint8)
        frame[:, padding : padding + rows, padding : padding + columns] = image
        view = frame[:, down : down + height, right : right + width]
        views.append(view.flip(2) if flip else view)
    return torch.stack(views)


@pytest.mark.parametrize("padding", [0, 1, 4])
def test_matches_a_loop_over_images(padding: int) -> None:
    images = random_images(40)
    views = flip_and_crop(images, torch.Generator().manual_seed(3), padding)
    expected = oracle(images, torch.Generator().manual_seed(3), padding)
    assert views.dtype == torch.uint8
    assert torch.equal(views, expected)


@pytest.mark.parametrize("padding", [0, 2])
def test_a_smaller_crop_matches_a_loop_over_images(padding: int) -> None:
    images = random_images(40)
    views = flip_and_crop(images, torch.Generator().manual_seed(3), padding, size=6)
    generator = torch.Generator().manual_seed(3)
    flips = torch.randint(2, (40,), generator=generator).tolist()
    offsets = [torch.randint(side + 2 * padding - 5, (40,), generator=generator).tolist() for side in (9, 7)]
    assert views.shape == (40, 3, 6, 6)
    assert torch.equal(views, crops(images, flips, offsets, padding, 6, 6))


def test_the_images_own_size_is_what_no_size_means() -> None:
    images = random_images(20, 8, 8)
    views = [flip_and_crop(images, torch.Generator().manual_seed(3), 1, size) for size in (None, 8)]
    assert torch.equal(*views)


def test_half_are_mirrored_and_every_offset_comes() -> None:
    image = random_images(1, 5, 5).clamp(min=1)
    views = flip_and_crop(image.expand(4000, -1, -1, -1), torch.Generator().manual_seed(0), 0)
    mirrored = (views == image.flip(3)).all(dim=(1, 2, 3)).float().mean().item()
    assert mirrored == pytest.approx(0.5, abs=0.03)  # four standard errors

    views = flip_and_crop(image.expand(4000, -1, -1, -1), torch.Generator().manual_seed(0), 1)
    framed = (views[:, 0] == 0).float()
    assert len(torch.unique(framed.flatten(1), dim=0)) == 9  # three offsets each way


def test_a_seed_repeats_and_the_images_stay() -> None:
    images = random_images(16)
    before = images.clone()
    views = [flip_and_crop(images, torch.Generator().manual_seed(seed), 2) for seed in (1, 1, 2)]
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
    assert torch.equal(images, before)


def test_refuses_negative_padding() -> None:
    with pytest.raises(ValueError, match="padding must be at least 0, but is -1"):
        flip_and_crop(random_images(1), torch.Generator(), -1)


def test_refuses_a_crop_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="a crop of 10 x 10 px does not fit images of 9 x 7 px framed by 1"):
        flip_and_crop(random_images(1), torch.Generator(), 1, size=10)


def test_unit_range() -> None:
    unit = to_unit(torch.tensor([0, 51, 255], dtype=torch.uint8))
    assert unit.dtype == torch.float32
    assert unit.tolist() == pytest.approx([0.0, 0.2, 1.0], rel=1e-6)
