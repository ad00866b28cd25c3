"""Views of images and of their maps, against a slow loop over pixels."""

import math

import pytest
import torch
from torch import Tensor

from tessera.data.labels import Kind
from tessera.data.views import View, draw, flip_and_crop, middle

NUMBER, HEIGHT, WIDTH = 6, 8, 12


def images() -> Tensor:
    return torch.randint(256, (NUMBER, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def maps() -> dict[Kind, Tensor]:
    generator = torch.Generator().manual_seed(1)
    normals = torch.nn.functional.normalize(torch.randn(NUMBER, 3, HEIGHT, WIDTH, generator=generator), dim=1)
    return {
        "class_map": torch.randint(13, (NUMBER, HEIGHT, WIDTH), generator=generator).to(torch.uint8),
        "depth_map": torch.rand(NUMBER, HEIGHT, WIDTH, generator=generator).add(0.5).half(),
        "disparity_map": torch.rand(NUMBER, HEIGHT, WIDTH, generator=generator).add(0.5).half(),
        "normal_map": normals.half(),
    }


def drawn(seed: int = 0, **asked: object) -> View:
    return draw(NUMBER, (HEIGHT, WIDTH), torch.Generator().manual_seed(seed), **asked)  # type: ignore[arg-type]


def slow(view: View, maps: Tensor, none: float) -> Tensor:
    """The nearest label of every pixel that is seen, one by one; maps (N, …, H, W)."""
    seen = torch.full((*maps.shape[:-2], *view.shape), none, dtype=maps.dtype)
    for n in range(len(maps)):
        scale = 1.0 if view.scales is None else float(view.scales[n])
        for i in range(view.shape[0]):
            for j in range(view.shape[1]):
                across = view.shape[1] - 1 - j if view.flips[n] else j
                row = math.floor(int(view.down[n]) + (i + 0.5) / scale) - view.padding
                column = math.floor(int(view.right[n]) + (across + 0.5) / scale) - view.padding
                if 0 <= row < maps.shape[-2] and 0 <= column < maps.shape[-1]:
                    seen[n, ..., i, j] = maps[n, ..., row, column]
    return seen


ASKED = [
    {}, {"padding": 2}, {"crop": (5, 4)}, {"crop": (5, 4), "padding": 1}, {"flip": False},
    {"scales": (1.0, 1.25, 2.0)}, {"scales": (1.6,), "crop": (4, 6)},
]  # fmt: skip


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("kind", maps())
def test_maps_are_the_nearest_labels(kind: Kind, asked: dict[str, object]) -> None:
    view, values = drawn(**asked), maps()[kind]
    expected = slow(view, values, 255 if kind == "class_map" else 0)
    if kind == "normal_map":
        expected = expected.float()
        expected[view.flips == 1, 0] *= -1
    elif kind in ("depth_map", "disparity_map") and view.scales is not None:
        by = view.scales.view(-1, 1, 1) if kind == "disparity_map" else 1 / view.scales.view(-1, 1, 1)
        expected = expected.float() * by
    seen = view.column(kind, values)
    assert seen.dtype == (torch.uint8 if kind == "class_map" else torch.float32)
    torch.testing.assert_close(seen.float(), expected.float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("asked", [asked for asked in ASKED if "scales" not in asked])
def test_pixels_move_with_their_maps(asked: dict[str, object]) -> None:
    view = drawn(**asked)
    assert torch.equal(view.images(images()), slow(view, images(), 0))


def test_without_scales_it_is_the_augmentation_of_images_to_the_bit() -> None:
    for padding, size in ((0, None), (2, None), (1, 6)):
        view = drawn(3, padding=padding, crop=None if size is None else (size, size))
        expected = flip_and_crop(images(), torch.Generator().manual_seed(3), padding, size)
        assert torch.equal(view.images(images()), expected)


def test_what_is_enlarged_is_interpolated() -> None:
    """A ramp stays a ramp, of a slope so many times smaller; away from the image's border."""
    ramp = (10 * torch.arange(WIDTH)).to(torch.uint8).expand(NUMBER, 3, HEIGHT, WIDTH)
    view = drawn(scales=(2.0,), flip=False)
    seen = view.images(ramp).float()
    for n in range(NUMBER):
        at = int(view.right[n]) + (torch.arange(WIDTH) + 0.5) / 2 - 0.5
        torch.testing.assert_close(seen[n, 0, 0], (10 * at).clamp(0, 10 * (WIDTH - 1)), rtol=0, atol=0.51)


def test_a_scale_of_one_changes_nothing() -> None:
    view = drawn(scales=(1.0,))
    plain = View(view.shape, view.flips, view.down, view.right)
    assert torch.equal(view.images(images()), plain.images(images()))
    for kind, values in maps().items():
        torch.testing.assert_close(view.column(kind, values), plain.column(kind, values), rtol=0, atol=0)


def test_mirroring_twice_gives_back_what_was() -> None:
    ones = torch.ones(NUMBER, dtype=torch.int64)
    mirror = View((HEIGHT, WIDTH), ones, 0 * ones, 0 * ones)
    for kind, values in maps().items():
        twice = mirror.column(kind, mirror.column(kind, values).to(values.dtype))
        torch.testing.assert_close(twice, values.to(twice.dtype), rtol=0, atol=0)
    assert torch.equal(mirror.images(mirror.images(images())), images())


def test_every_scale_and_every_place_comes() -> None:
    view = draw(4000, (8, 8), torch.Generator().manual_seed(0), scales=(1.0, 2.0))
    assert view.scales is not None
    enlarged = view.scales == 2
    assert 0.45 < enlarged.double().mean() < 0.55
    assert set(view.down[enlarged].tolist()) == set(range(5))
    assert set(view.right[~enlarged].tolist()) == {0}


def test_the_middle_is_the_whole_image_or_its_centre() -> None:
    assert torch.equal(middle(NUMBER, (HEIGHT, WIDTH)).images(images()), images())
    assert torch.equal(middle(NUMBER, (HEIGHT, WIDTH), (4, 6)).images(images()), images()[..., 2:6, 3:9])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"padding": -1}, "padding must be at least 0, but is -1"),
        ({"padding": 1, "scales": (2.0,)}, "padding must be at least 0, and 0 with scales"),
        ({"scales": (0.5,)}, "scales must be at least 1, but one is 0.5"),
        ({"crop": (9, 3)}, "a crop of 9 x 3 px does not fit images of 8 x 12 px framed by 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(asked: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drawn(**asked)
