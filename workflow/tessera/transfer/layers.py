"""Which layer of the student is compared with which of the teacher, and how their maps get one size."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tessera.errors import StudyError
from tessera.models.encoders.base import LayeredNetwork
from tessera.registry import suggest

STEM = "stem"


class Pair(NamedTuple):
    """Names of two layers that are compared."""

    student: str
    teacher: str


def match_layers(
    chosen: str | Sequence[tuple[str, str]], student: LayeredNetwork, teacher: LayeredNetwork, method: str
) -> list[Pair]:
    """The pairs of layers that a method compares, from the input on.

    Args:
        chosen: `stages`: the ends of the stages, matched from the last one backwards, so that the first ones of the
            network with more stages stay alone; `middle`: the middle one of these, the earlier of two; `last`: the last
            one. Or the pairs themselves, (student, teacher).
        method: Name of the method, for messages.

    Raises:
        StudyError: If a network lacks a layer.
    """
    if not isinstance(chosen, str):
        pairs = [Pair(*names) for names in chosen]
        for network, who, names in (
            (student, "the target network", [pair.student for pair in pairs]),
            (teacher, "the source encoder", [pair.teacher for pair in pairs]),
        ):
            _check(network, who, names, method)
        return pairs
    ends = zip(reversed(stage_ends(student)), reversed(stage_ends(teacher)), strict=False)
    stages = [Pair(*names) for names in ends][::-1]
    middle = (len(stages) - 1) // 2
    return {"stages": stages, "middle": stages[middle : middle + 1], "last": stages[-1:]}[chosen]


def stage_ends(network: LayeredNetwork) -> list[str]:
    """The last layer of each stage, from the input on: what `across_stage` pairs, in its order, without a `stem`.

    A network without such pairs ends a stage with each of its layers.
    """
    paired = dict.fromkeys(name for pair in network.stage_pairs.get("across_stage", ()) for name in pair)
    ends = [name for name in paired or network.layer_channels if name != STEM]
    return ends or list(network.layer_channels)[-1:]


def channels_of(network: LayeredNetwork, layer: str) -> int:
    """Channels of a layer's map, the inner ones included."""
    return {**network.inner_channels, **network.layer_channels}[layer]


def to_one_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Averages the larger map down to the smaller one's height and width, each side by itself.

    Shape:
        student: (N, C, h, w); teacher: (N, C', h', w'); float32 or float64.
        returns: the same with the smaller height and the smaller width of the two.
    """
    height, width = (min(a, b) for a, b in zip(student.shape[2:], teacher.shape[2:], strict=True))
    return average_to(student, (height, width)), average_to(teacher, (height, width))


def average_to(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Averages maps over the cells of a grid of that height and width, as adaptive average pooling does.

    A product with two matrices where the cells are uneven: averages over such have no deterministic gradient on a GPU.

    Shape:
        maps: (N, C, h, w), h and w at least those of `size`.
        returns: (N, C, *size), float32, or float64 where the maps are.
    """
    maps = maps if maps.dtype == torch.float64 else maps.float()
    if maps.shape[2:] == size:
        return maps
    rows, columns = (_cells(length, cells, maps) for length, cells in zip(maps.shape[2:], size, strict=True))
    with torch.autocast(maps.device.type, enabled=False):
        return rows @ maps @ columns.T


def _cells(length: int, cells: int, like: Tensor) -> Tensor:
    """Shares (cells, length) of each position in each cell; neighbours overlap where the ratio is no whole number."""
    cell, position = torch.arange(cells, device=like.device)[:, None], torch.arange(length, device=like.device)
    start, end = cell * length // cells, -(-(cell + 1) * length // cells)
    inside = ((position >= start) & (position < end)).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


def _check(network: LayeredNetwork, who: str, names: Sequence[str], method: str) -> None:
    known = {**network.inner_channels, **network.layer_channels}
    for name in names:
        if name not in known:
            raise StudyError(
                f"transfer `{method}`, layers: {who} ({type(network).__name__}) has no layer `{name}`. "
                f"{suggest(name, known)}"
            )
