"""Decoding of every kind of image, against torchvision and by hand."""

import io
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from tessera.data.decode import CHUNK, Encoded, decode_image, decode_images
from tessera.errors import DataError


def encoded(image: Image.Image, form: str = "png", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def smooth(height: int, width: int) -> Image.Image:
    grid = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)


def test_an_image_of_the_right_size_is_untouched() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.array_equal(decode_image(encoded(Image.fromarray(pixels)), 16), pixels)


@pytest.mark.parametrize(("height", "width"), [(40, 40), (30, 50), (50, 30), (12, 8), (300, 200)])
@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_other_sizes_as_torchvision_resizes_and_crops(height: int, width: int, form: str) -> None:
    data = encoded(smooth(height, width), form)
    expected = v2.Compose([v2.Resize(16), v2.CenterCrop(16)])(Image.open(io.BytesIO(data)))
    difference = decode_image(data, 16).astype(int) - np.asarray(expected).astype(int)
    assert np.abs(difference).mean() < 3  # of 255: the crop may lie half a pixel elsewhere


def test_modes() -> None:
    gray = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    as_rgb = np.stack([np.asarray(gray)] * 3, axis=2)
    assert np.array_equal(decode_image(encoded(gray), 8), as_rgb)
    assert np.array_equal(decode_image(encoded(gray.convert("P")), 8), as_rgb)
    assert np.array_equal(decode_image(encoded(gray.convert("LA")), 8), as_rgb)
    assert np.array_equal(
        decode_image(encoded(gray.convert("1")), 8) > 0,
        np.asarray(gray.convert("RGB").convert("1"))[..., None].repeat(3, 2),
    )
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 256 + 200)
    assert np.array_equal(decode_image(encoded(deep), 8), as_rgb)
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert np.abs(decode_image(encoded(cmyk, "jpeg"), 8).astype(int) - [255, 0, 0]).max() <= 3


def test_transparency_and_orientation_are_ignored() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    assert np.array_equal(decode_image(encoded(Image.fromarray(pixels)), 8), pixels[..., :3])
    palette = smooth(8, 8).quantize(16)
    with_transparency = encoded(palette, transparency=bytes(range(16)))
    assert np.array_equal(decode_image(with_transparency, 8), np.asarray(palette.convert("RGB")))
    turned = Image.Exif()
    turned[0x0112] = 6
    plain = smooth(8, 8)
    assert np.array_equal(decode_image(encoded(plain, "jpeg", exif=turned), 8), decode_image(encoded(plain, "jpeg"), 8))


@pytest.mark.parametrize("threads", [1, 3])
def test_order_is_kept_over_many_chunks(threads: int) -> None:
    torch.set_num_threads(threads)
    number = 5 * CHUNK + 7
    data = [encoded(Image.new("RGB", (8, 8), (i % 256, i // 256, 0))) for i in range(number)]
    images = decode_images((Encoded(str(i), lambda i=i: data[i]) for i in range(number)), 8, "x")
    assert images.shape == (number, 8, 8, 3)
    assert images.dtype == np.uint8
    assert np.array_equal(images[:, 3, 3, 0] + 256 * images[:, 4, 4, 1].astype(int), np.arange(number))


def test_reading_does_not_run_ahead() -> None:
    """A big archive must not be read into memory before it is decoded."""
    data, given, lag = encoded(smooth(8, 8)), [0], []

    def read(number: int) -> bytes:
        lag.append(given[0] - number)
        return data

    def images() -> Iterator[Encoded]:
        for number in range(20 * CHUNK):
            given[0] = number
            yield Encoded(str(number), partial(read, number))

    decode_images(images(), 8, "x")
    assert max(lag) <= 4 * CHUNK


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"no image", "no image of a known kind"),
        (encoded(smooth(64, 64), "jpeg")[:700], "truncated"),
    ],
)
def test_an_undecodable_image_is_named(data: bytes, reason: str) -> None:
    good = Encoded("good", lambda: encoded(smooth(8, 8)))
    bad = Encoded("x.tar: `train/cat/7.jpg`", lambda: data)
    with pytest.raises(DataError, match=r"^x\.tar: `train/cat/7\.jpg`: cannot be decoded \(.*" + reason) as raised:
        decode_images([good, bad, good], 8, "x")
    assert str(raised.value).endswith("Remove or replace it.")
    assert "\n" not in str(raised.value)
