"""Views of an image and of the objects in it: SSD's augmentation, by torchvision's transforms."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from tessera.data.normalization import Channels
from tessera.errors import StudyError

ZOOM = (1.0, 4.0)  # the canvas, in sides of the image
BRIGHTNESS, CONTRAST, SATURATION, HUE = 32 / 255, 0.5, 0.5, 18 / 360
MIN_IOU = [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]  # torchvision: 0 asks for a centre alone, 1 keeps the whole image
SMALLEST_PX = 1.0  # a box whose visible part is thinner is left out


class View(NamedTuple):
    """One image as the network sees it.

    Shape:
        image: (3, S, S) uint8.
        boxes: (n, 4) float32: x1, y1, x2, y2, px of S.
        labels: (n,) int64.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor


class Augmentation:
    """From an image of any size and its boxes to a view of S x S px.

    Draws from torch's own random numbers on the CPU: see `seeded`.

    Args:
        steps: What happens before the image is resized, which is bilinear and antialiased, whatever its aspect.
        image_size: S, px.
    """

    def __init__(self, steps: list[v2.Transform], image_size: int) -> None:
        self.transform = v2.Compose([*steps, v2.Resize([image_size, image_size], antialias=True)])

    def __call__(self, image: Tensor, boxes: Tensor, labels: Tensor) -> View:
        """The view.

        Shape:
            image: (3, H, W) uint8.
            boxes: (n, 4) float32: x1, y1, x2, y2, px of the image.
            labels: (n,) int64.
        """
        height, width = image.shape[-2:]
        framed = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width))
        changed = self.transform(tv_tensors.Image(image), framed, labels)
        return View(*(tensor.as_subclass(Tensor) for tensor in changed))


def make_augmentation(name: str, image_size: int, mean: Channels) -> Augmentation:
    """The augmentation of this name.

    Args:
        name: `ssd`, or `none`: the image is resized and nothing else.
        mean: Of the training images, in units of [0, 1]: the colour around an image that is zoomed out.

    Raises:
        StudyError: If there is none of this name.
    """
    if name not in AUGMENTATIONS:
        known = ", ".join(AUGMENTATIONS)
        raise StudyError(f"target.augmentation: detectors have no `{name}`. Known: {known}")
    return Augmentation(AUGMENTATIONS[name](mean), image_size)


def ssd_steps(mean: Channels) -> list[v2.Transform]:
    """Colours, zoom out, a crop that keeps an object, flip.

    Source: Liu et al. 2016 (SSD), sections 2.2 and 3.6, and its Caffe code. torchvision differs in this: brightness
    is a factor of 1 ± 32/255, where SSD adds up to ± 32; contrast moves pixels about the image's mean gray, where SSD
    multiplies them; every step rounds to bytes. A crop's sides are each 0.3 to 1 of the image's, as in SSD's code (the
    paper has 0.1), and its least IoU is drawn from `none, .1, .3, .5, .7, .9` or the image stays whole. One object
    whose centre is in the crop must reach that IoU; a much-used port tests for it in vain, and has no .5. Objects
    stay whose centre is in the crop, and are cut at its border.
    """
    return [
        v2.RandomPhotometricDistort(
            brightness=(1 - BRIGHTNESS, 1 + BRIGHTNESS),
            contrast=(1 - CONTRAST, 1 + CONTRAST),
            saturation=(1 - SATURATION, 1 + SATURATION),
            hue=(-HUE, HUE),
            p=0.5,
        ),
        v2.RandomZoomOut(fill=[round(255 * value) for value in mean], side_range=ZOOM, p=0.5),
        _IoUCrop(sampler_options=MIN_IOU),
        v2.SanitizeBoundingBoxes(min_size=SMALLEST_PX, labels_getter=_labels),
        v2.RandomHorizontalFlip(),
    ]


class _IoUCrop(v2.RandomIoUCrop):  # type: ignore[misc]  # torchvision has no types
    """An image of three pixels a side or fewer stays whole: its crop may have none, by which torchvision divides."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        if int(min(v2.query_size(flat_inputs)) * self.min_scale) == 0:
            return {}  # as torchvision says that nothing is cropped
        params: dict[str, Any] = super().make_params(flat_inputs)
        return params


def _labels(sample: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return sample[2]


AUGMENTATIONS: dict[str, Callable[[Channels], list[v2.Transform]]] = {"none": lambda _: [], "ssd": ssd_steps}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers on the CPU start from the seed in this block, and go on as if it had not been."""
    state = torch.get_rng_state()
    # Not torch.manual_seed, which would seed the GPU too, where this process is the one that has it.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)
