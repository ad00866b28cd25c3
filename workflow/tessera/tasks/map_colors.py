"""Maps as pictures: a colour a class, a scale of colours for a number, a colour a direction."""

import torch
from torch import Tensor

from tessera.data.columns import NO_CLASS
from tessera.tasks.base import to_bytes

# Twenty colours that are told apart at a glance (matplotlib's tab20, its ten strong ones first); black is none.
_CLASSES = [
    0x1F77B4, 0xFF7F0E, 0x2CA02C, 0xD62728, 0x9467BD, 0x8C564B, 0xE377C2, 0x7F7F7F, 0xBCBD22, 0x17BECF,
    0xAEC7E8, 0xFFBB78, 0x98DF8A, 0xFF9896, 0xC5B0D5, 0xC49C94, 0xF7B6D2, 0xC7C7C7, 0xDBDB8D, 0x9EDAE5,
]  # fmt: skip
# Viridis at nine places: even steps of a number are even steps to the eye, also in gray.
_SCALE = [0x440154, 0x472D7B, 0x3B528B, 0x2C728E, 0x21918C, 0x28AE80, 0x5EC962, 0xADDC30, 0xFDE725]


def class_pictures(classes: Tensor) -> Tensor:
    """Pictures of classes: (N, H, W) integers to (N, 3, H, W) uint8 on the CPU; the twenty-first has the first's."""
    colors = torch.cat([_rgb(_CLASSES), torch.zeros(1, 3)])
    classes = classes.cpu().long()
    index = torch.where(classes == NO_CLASS, len(_CLASSES), classes % len(_CLASSES))
    return to_bytes(colors[index].movedim(-1, 1))


def class_color(label: int) -> str:
    """The colour of a class in `class_pictures`, as `#rrggbb`."""
    return f"#{_CLASSES[label % len(_CLASSES)]:06x}"


def number_pictures(numbers: Tensor, known: Tensor, low: float, high: float) -> Tensor:
    """Pictures of numbers, dark where they are `low` and bright where `high`; black where they are not known.

    Shape:
        numbers, known: (N, H, W) float and bool.
        returns: (N, 3, H, W) uint8 on the CPU.
    """
    colors, numbers, known = _rgb(_SCALE), numbers.detach().float().cpu(), known.cpu()
    places = ((numbers - low) / max(high - low, 1e-12)).nan_to_num().clamp(0, 1) * (len(_SCALE) - 1)
    lower = places.floor().long().clamp_max(len(_SCALE) - 2)
    between = (places - lower)[..., None]
    mixed = colors[lower] * (1 - between) + colors[lower + 1] * between
    return to_bytes((mixed * known[..., None]).movedim(-1, 1))


def normal_pictures(normals: Tensor, known: Tensor) -> Tensor:
    """Pictures of unit vectors, (n + 1) / 2 as red, green and blue: (N, 3, H, W), known (N, H, W), to uint8."""
    return to_bytes((normals.detach().float().cpu() + 1) / 2 * known.cpu()[:, None])


def _rgb(colors: list[int]) -> Tensor:
    return torch.tensor([[color >> 16, color >> 8 & 255, color & 255] for color in colors]) / 255
