"""Random distortions of images, each image by its own draw: crop and resize, flip, colour jitter, gray, blur."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.functional import rgb_to_grayscale

from tessera.data.views import to_unit

TRIES = 10  # of a crop, before it is the whole image, as in torchvision
WIDEST = 4 / 3  # width over height of a crop, and the same of height over width
BRIGHTNESS, CONTRAST, SATURATION = range(3)
SIGMAS = (0.1, 2.0)  # of the blur, px


class Strengths(NamedTuple):
    """How images are distorted.

    Attributes:
        least_area: Least share of the image's area that a crop shows, above 0 to 1.
        flip: Whether half of the crops are mirrored.
        color: s of the jitter: brightness, contrast and saturation are multiplied by 1 - 0.8 s, at least 0, to
            1 + 0.8 s, and the hue turns by up to 0.2 s of the circle to each side; 0 to 2.5.
        jitter, gray, blur: Probability that colours are jittered, that the crop is shown in gray, that it is blurred.
    """

    least_area: float
    flip: bool
    color: float
    jitter: float
    gray: float
    blur: float


class Distortions(NamedTuple):
    """What happens to each of M images.

    Shape:
        boxes: (M, 4) int64, top, left, height and width of the crop, px.
        flips: (M,) bool.
        kinds: (M, 3) int64, `BRIGHTNESS`, `CONTRAST` and `SATURATION` in the order in which they change.
        factors: (M, 3) float32, of those in the order of `kinds`; 1 changes nothing.
        before: (M,) int64, how many of them come before the hue.
        hues: (M,) float32, turns of the circle of hues.
        grays: (M,) bool.
        sigmas: (M,) float32, of the blur, px; 0: none.
    """

    boxes: Tensor
    flips: Tensor
    kinds: Tensor
    factors: Tensor
    before: Tensor
    hues: Tensor
    grays: Tensor
    sigmas: Tensor

    def of(self, images: Tensor, size: int) -> Tensor:
        """The images, distorted one after the other in the order of the attributes.

        torchvision's transforms (0.29) have one draw for a whole batch, and called for each image they take five times
        as long at 32 px on a CPU; kornia's have a draw for each, but by torch's own generator, and five functions are
        no reason for its dependencies. The values are those of torchvision's functions on one image, in floats.

        Shape:
            images: (M, 3, H, H) uint8.
            returns: (M, 3, size, size) float32, 0 to 1.
        """
        boxes, flips, kinds, factors, before, hues, grays, sigmas = self._on(images.device)
        pixels = crop_and_resize(to_unit(images), boxes, flips, size)
        pixels = jitter_colors(pixels, kinds, factors, before, hues)
        pixels = torch.where(_each(grays), rgb_to_grayscale(pixels), pixels)
        return blur(pixels, sigmas) if bool(self.sigmas.any()) else pixels

    def _on(self, device: torch.device) -> "Distortions":
        # One small copy to the device: a row an image.
        parts = [part.float().view(len(self.flips), -1) for part in self]
        moved = torch.cat(parts, dim=1).to(device, non_blocking=True)
        columns = torch.split(moved, [part.shape[1] for part in parts], dim=1)
        return Distortions(*(part.to(own.dtype).view(own.shape) for part, own in zip(columns, self, strict=True)))


def draw(number: int, side: int, generator: torch.Generator, strengths: Strengths) -> Distortions:
    """Draws how each of so many square images is distorted.

    Source: Chen, Kornblith, Norouzi & Hinton, ICML 2020 (SimCLR), appendix A, arXiv:2002.05709, whose listing is in
    torchvision's terms: the four changes of colour come in random order. The probability of a change is drawn for each
    image, its amount evenly.

    Args:
        side: Height and width of the images, px.
        generator: On the CPU, so that a seed means the same draws on every device.
    """

    def even(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(number, *shape, generator=generator)

    def happens(probability: float) -> Tensor:
        return torch.rand(number, generator=generator) < probability

    boxes, flips = draw_crops(number, side, generator, strengths.least_area), happens(0.5 * strengths.flip)
    reach = 0.8 * strengths.color
    kinds = torch.rand(number, 3, generator=generator).argsort(dim=1)
    before = torch.randint(4, (number,), generator=generator)
    factors, hues = even(max(0.0, 1 - reach), 1 + reach, 3), even(-0.2 * strengths.color, 0.2 * strengths.color)
    jittered = happens(strengths.jitter)
    factors, hues = torch.where(jittered[:, None], factors, 1.0), torch.where(jittered, hues, 0.0)
    grays = happens(strengths.gray)
    sigmas = torch.where(happens(strengths.blur), even(*SIGMAS), 0.0)
    return Distortions(boxes, flips, kinds, factors, before, hues, grays, sigmas)


def draw_crops(number: int, side: int, generator: torch.Generator, least_area: float) -> Tensor:
    """Crops of square images as torchvision's `RandomResizedCrop` draws them: top, left, height and width.

    The share of the area is even, and so is the logarithm of width over height, 3/4 to 4/3; a crop that does not fit is
    drawn again.

    Args:
        side: Height and width of the images, px.
        least_area: Least share of the image's area, above 0 to 1.

    Shape:
        returns: (number, 4) int64, px.
    """
    # In float64, so that no processor's rounding moves a border by a pixel.
    areas, shapes = torch.rand(2, number, TRIES, generator=generator, dtype=torch.float64)
    areas = side**2 * (least_area + (1 - least_area) * areas)
    shapes = (math.log(WIDEST) * (2 * shapes - 1)).exp()
    tries = torch.stack([(areas / shapes).sqrt(), (areas * shapes).sqrt()], dim=2).round().long()
    fits = ((tries > 0) & (tries <= side)).all(dim=2)
    sizes = tries[torch.arange(number), fits.int().argmax(dim=1)]  # the first that fits
    sizes = torch.where(fits.any(dim=1, keepdim=True), sizes, side)
    rooms = side - sizes
    places = (torch.rand(number, 2, generator=generator, dtype=torch.float64) * (rooms + 1)).long()
    return torch.cat([places, sizes], dim=1)


def crop_and_resize(pixels: Tensor, boxes: Tensor, flips: Tensor, size: int) -> Tensor:
    """A crop of each image, perhaps mirrored, at one size: bilinear with antialias, where the paper's code is bicubic.

    Each axis is a product with a matrix: exact for every scale, where a batched sampling at points has no antialias.

    Shape:
        pixels: (M, 3, H, W) float.
        boxes: (M, 4) int64, top, left, height and width, px.
        flips: (M,) bool, mirrored from left to right.
        returns: (M, 3, size, size).
    """
    top, left, height, width = boxes.unbind(1)
    rows = _resizing(top, height, pixels.shape[-2], size)
    columns = _resizing(left, width, pixels.shape[-1], size)
    columns = torch.where(flips[:, None, None], columns.flip(1), columns)
    return _product(rows, pixels, columns)


def jitter_colors(pixels: Tensor, kinds: Tensor, factors: Tensor, before: Tensor, hues: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue of each image, in an order of its own; each clips to [0, 1].

    Shape:
        pixels: (M, 3, H, W) float, 0 to 1.
        kinds, factors, before, hues: See `Distortions`.
        returns: the shape of `pixels`.
    """
    # Three changes before the hue and three after, of which each image takes part in three: no rows are picked out.
    for place in range(3):
        factor = torch.where(place < before, factors[:, place], 1.0)
        pixels = _changed(pixels, kinds[:, place], factor)
    pixels = turn_hues(pixels, hues)
    for place in range(3):
        factor = torch.where(place < before, 1.0, factors[:, place])
        pixels = _changed(pixels, kinds[:, place], factor)
    return pixels


def turn_hues(pixels: Tensor, turns: Tensor) -> Tensor:
    """Turns the hue of each image; value and saturation (HSV) stay.

    Shape:
        pixels: (M, 3, H, W) float, 0 to 1.
        turns: (M,) float, turns of the circle of hues.
        returns: the shape of `pixels`.
    """
    red, green, blue = pixels.unbind(1)
    value = pixels.amax(dim=1)
    chroma = value - pixels.amin(dim=1)
    divisor = torch.where(chroma > 0, chroma, 1.0)  # gray has no hue
    of_blue = 4 + (red - green) / divisor
    of_green = torch.where(value == green, 2 + (blue - red) / divisor, of_blue)
    sixths = torch.where(value == red, (green - blue) / divisor, of_green) + 6 * turns[:, None, None]
    channels = torch.arange(5, 0, -2, device=pixels.device).view(3, 1, 1)  # where on the circle each is away
    distance = (sixths[:, None] + channels) % 6
    return value[:, None] - chroma[:, None] * distance.minimum(4 - distance).clamp(0, 1)


def blur(pixels: Tensor, sigmas: Tensor) -> Tensor:
    """Blurs each image by a Gaussian of its own, cut off at a twentieth of the image; the border is mirrored.

    Shape:
        pixels: (M, 3, S, S) float.
        sigmas: (M,) float, px; 0 leaves an image as it is.
        returns: the shape of `pixels`.
    """
    side = pixels.shape[-1]
    matrices = _blurring(sigmas, side, blur_radius(side))
    return _product(matrices, pixels, matrices)


def blur_radius(side: int) -> int:
    """Half of the blur's kernel, px: a tenth of the image in all, as in the paper, and one pixel at least."""
    return max(1, side // 10 // 2)


def _product(rows: Tensor, pixels: Tensor, columns: Tensor) -> Tensor:
    """(M, h, H), (M, 3, H, W) and (M, w, W) to (M, 3, h, w)."""
    return torch.einsum("mvh,mchu->mcvu", rows, torch.einsum("mchw,muw->mchu", pixels, columns))


def _resizing(starts: Tensor, lengths: Tensor, side: int, size: int) -> Tensor:
    """What each pixel of a stretch that is resized has of each pixel of the image: (M, size, side), rows sum to 1."""
    starts, lengths = starts[:, None, None], lengths[:, None, None]
    scales = lengths / size
    pixels = torch.arange(side, device=starts.device)
    centers = starts + scales * (torch.arange(size, device=starts.device)[:, None] + 0.5)
    shares = (1 - (pixels + 0.5 - centers).abs() / scales.clamp_min(1)).clamp_min(0)
    shares = shares * ((pixels >= starts) & (pixels < starts + lengths))
    return shares / shares.sum(dim=2, keepdim=True)


def _blurring(sigmas: Tensor, side: int, radius: int) -> Tensor:
    """What each pixel of a blurred row has of each pixel: (M, side, side), rows sum to 1."""
    pixels = torch.arange(side, device=sigmas.device)
    last = side - 1
    wide = 2 * sigmas.clamp_min(1e-6)[:, None, None].square()

    def shares(seen: Tensor) -> Tensor:
        away = seen - pixels[:, None]
        return (-(away.square()) / wide).exp() * (away.abs() <= radius)

    # Beyond the border lies what is within, and the outermost pixel only once.
    mirrored = shares(-pixels) * (pixels > 0) + shares(2 * last - pixels) * (pixels < last)
    found = shares(pixels) + mirrored
    return found / found.sum(dim=2, keepdim=True)


def _changed(pixels: Tensor, kinds: Tensor, factors: Tensor) -> Tensor:
    """Away from, or towards, black (brightness), the image's mean gray (contrast) or its pixels' grays (saturation)."""
    grays = rgb_to_grayscale(pixels)
    means = grays.mean(dim=(1, 2, 3), keepdim=True)
    others = grays * _each(kinds == SATURATION) + means * _each(kinds == CONTRAST)
    return torch.lerp(others, pixels, _each(factors)).clamp(0, 1)


def _each(values: Tensor) -> Tensor:
    """One value an image, as pixels want it: (M,) to (M, 1, 1, 1)."""
    return values[:, None, None, None]
