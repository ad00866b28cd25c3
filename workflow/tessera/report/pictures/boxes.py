"""Draws boxes on images, with labels that stay readable. Never imports torch."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Literal

from tessera.data.formats import FORMATS
from tessera.report.pictures.drawing import text_inches

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Box = tuple[float, float, float, float]  # x1, y1, x2, y2, px

ABREAST, WIDTH, GAP = 3, 7.5, 0.1  # panels in a line; inches: of the page, and what lies between two panels
FONT, TITLE, LINE = 6.0, 7.5, 0.125  # points, points, inches a line of a title
LEGEND = 0.3  # inches


@dataclass(frozen=True)
class Kind:
    """How a box looks. Words, a mark and filled or open labels tell kinds apart where colours cannot.

    Attributes:
        label: Colours of the label's ground and letters; None: it never has one.
    """

    name: str
    color: str
    style: Literal["solid", "dashed", "dotted"]
    width: float
    label: tuple[str, str] | None = None


RIGHT = Kind("right", "#08519c", "solid", 1.4, ("#08519c", "white"))
WRONG = Kind("wrong", "#fd8d3c", "solid", 1.4, ("white", "#a63603"))
OBJECT = Kind("object", "white", "dashed", 0.7, ("black", "white"))
MISSED = Kind("object that was missed", "white", "dashed", 1.3, ("black", "white"))
IGNORED = Kind("difficult object, and a box on it: not counted", "#bdbdbd", "dotted", 1.1)


@dataclass(frozen=True)
class Drawn:
    """One box, with the words of its label."""

    box: Box
    kind: Kind
    text: str = ""


@dataclass(frozen=True)
class Panel:
    """One image with its boxes.

    Attributes:
        pixels: (H, W, 3) uint8.
        boxes: In px of it; the first ones lie below.
    """

    title: str
    pixels: "np.ndarray"
    boxes: Sequence[Drawn]


def draw_panels(lines: Sequence[Sequence[Panel]]) -> "Figure":
    """Lines of images, and below them what the kinds of boxes mean."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    panels = [panel for line in lines for panel in line]
    across = max(len(line) for line in lines)
    side = (WIDTH - GAP) / max(2, across) - GAP  # longest of a panel
    titles = [max(len(_title(panel, side)) for panel in line) * LINE + 0.05 for line in lines]
    heights = [max(_size(panel, side)[1] for panel in line) for line in lines]
    width = across * (side + GAP) + GAP
    height = sum(titles) + sum(heights) + GAP * len(lines) + LEGEND
    figure = Figure(figsize=(width, height))
    top = height
    for line, title, tall in zip(lines, titles, heights, strict=True):
        top -= title
        for place, panel in enumerate(line):
            wide, high = _size(panel, side)
            left = GAP + place * (side + GAP)
            ax = figure.add_axes((left / width, (top - high) / height, wide / width, high / height))
            _draw(ax, panel, wide, _title(panel, side))
        top -= tall + GAP
    kinds = dict.fromkeys(drawn.kind for panel in panels for drawn in panel.boxes)
    handles = [
        Line2D(
            [],
            [],
            color=kind.color,
            linestyle=kind.style,
            linewidth=kind.width,
            label=kind.name,
            path_effects=_edge(kind),
        )
        for kind in (RIGHT, WRONG, OBJECT, MISSED, IGNORED)
        if kind in kinds
    ]
    if handles:
        columns = len(handles) if across > 1 else 2  # a narrow page
        figure.legend(handles=handles, loc="lower center", ncols=columns, frameon=False, fontsize=7, borderaxespad=0.2)
    return figure


def compress(path: Path) -> None:
    """Keeps a picture of photographs in 256 colours: a fifth of the bytes, on a page that carries all its pictures."""
    from PIL import Image

    stream = io.BytesIO()
    with Image.open(path, formats=FORMATS) as picture:
        rgb = picture.convert("RGB")
    rgb.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.FLOYDSTEINBERG).save(
        stream, "PNG", optimize=True
    )
    path.write_bytes(stream.getvalue())


def place_labels(boxes: Sequence[Box], sizes: Sequence[tuple[float, float]], width: float, height: float) -> list[Box]:
    """Where the label of each box goes: at an edge of it, outside rather than inside, away from other labels and boxes.

    Args:
        boxes: The most important first: they choose first.
        sizes: Width and height of each label.
        width, height: Of the image, within which labels stay.

    Returns:
        The labels' own boxes.
    """
    placed: list[Box] = []
    for number, ((x1, y1, x2, y2), (wide, high)) in enumerate(zip(boxes, sizes, strict=True)):
        lefts = (x1, x2 - wide, (x1 + x2 - wide) / 2)
        tops = (y1, y2 - high, (y1 + y2 - high) / 2)
        places = [
            *((left, top) for top in (y1 - high, y2) for left in lefts),  # above, below
            *((left, top) for left in (x2, x1 - wide) for top in tops),  # beside
            *((left, top) for top in tops for left in lefts),  # inside
        ]
        others = [box for i, box in enumerate(boxes) if i != number]
        best, best_cost = (x1, y1, x1 + wide, y1 + high), float("inf")
        for order, (left, top) in enumerate(places):
            if not (0 <= left <= width - wide and 0 <= top <= height - high):
                left, top = min(max(0.0, left), max(0.0, width - wide)), min(max(0.0, top), max(0.0, height - high))
                order += len(places)
            place = (left, top, left + wide, top + high)
            covered = sum(shared(place, other) for other in others) + 0.5 * shared(place, (x1, y1, x2, y2))
            cost = 20 * sum(shared(place, label) for label in placed) + covered + 0.02 * wide * high * order
            if cost < best_cost:
                best, best_cost = place, cost
        placed.append(best)
    return placed


def _draw(ax: "Axes", panel: Panel, inches: float, title: Sequence[str]) -> None:
    from matplotlib.patches import Rectangle

    height, width = panel.pixels.shape[:2]
    px_per_point = width / (inches * 72)
    ax.imshow(panel.pixels, extent=(0, width, height, 0), interpolation="antialiased", aspect="auto")
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.set_axis_off()
    ax.set_title("\n".join(title), fontsize=TITLE, loc="left", pad=2.5, linespacing=1.1)
    for drawn in panel.boxes:
        x1, y1, x2, y2 = drawn.box
        kind = drawn.kind
        patch = Rectangle(
            (x1, y1), x2 - x1, y2 - y1, fill=False, path_effects=_edge(kind), clip_on=False,
            edgecolor=kind.color, linestyle=kind.style, linewidth=kind.width,
        )  # fmt: skip
        ax.add_patch(patch)
    labelled = [drawn for drawn in reversed(panel.boxes) if drawn.text and drawn.kind.label]
    sizes = [
        ((72 * text_inches(drawn.text, FONT) + 3) * px_per_point, (FONT + 2.5) * px_per_point) for drawn in labelled
    ]
    places = place_labels([drawn.box for drawn in labelled], sizes, width, height)
    for number, (drawn, place) in enumerate(zip(labelled, places, strict=True)):
        x1, y1, x2, y2 = place
        hidden = sum(shared(place, earlier) for earlier in places[:number])
        if drawn.kind is MISSED and hidden > 0.05 * (x2 - x1) * (y2 - y1):
            continue  # in a crowd; its dashes still tell
        ground, letters = drawn.kind.label or ("white", "black")
        order = 4 + 2 * (len(labelled) - number)  # the surest above
        patch = Rectangle((x1, y1), x2 - x1, y2 - y1, facecolor=ground, edgecolor=letters, linewidth=0.4, zorder=order)
        ax.add_patch(patch)
        style: dict[str, Any] = {
            "color": letters,
            "fontsize": FONT,
            "ha": "center",
            "va": "center_baseline",
            "zorder": order + 1,
        }
        ax.text((x1 + x2) / 2, (y1 + y2) / 2, drawn.text, **style)


def _edge(kind: Kind) -> list[Any]:
    """A dark or light rim, so that a line shows on any ground."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=kind.width + 1.0, foreground="white" if kind is RIGHT else "black", alpha=0.8)]


def _title(panel: Panel, side: float) -> list[str]:
    return wrap(panel.title, int(side * 17), break_on_hyphens=False) or [""]


def _size(panel: Panel, side: float) -> tuple[float, float]:
    """Width and height of a panel, inches."""
    height, width = panel.pixels.shape[:2]
    return side * width / max(width, height), side * height / max(width, height)


def shared(one: Box, other: Box) -> float:
    """Area that two boxes share."""
    wide, high = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    return wide * high if wide > 0 and high > 0 else 0.0
