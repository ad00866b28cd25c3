"""How every picture of a study is drawn: its style, its legends, its files."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from tessera.data.formats import FORMATS

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 8,
    "axes.titlesize": 8,
    "svg.hashsalt": "tessera",  # equal figures are equal files
    "svg.fonttype": "none",
}
DOTS_PER_INCH = 160


@contextmanager
def drawing() -> Iterator[None]:
    """Draws in the style of this project, whatever a user's own matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def text_inches(text: str, size: float) -> float:
    """Width of a line of words in this project's font, `size` in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=STYLE["font.family"], size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72


def legend_below(figure: "Figure", handles: "Sequence[Artist]", labels: Sequence[str], most: int, **look: Any) -> None:
    """A legend under the panels, with as many names in a line, up to `most`, as the figure is wide enough for.

    A name that is wider than the figure by itself takes several lines.
    """
    for across in range(min(most, len(labels)), -1, -1):
        names = labels if across else [_wrapped(label, figure.get_figwidth() - 0.7) for label in labels]
        legend = figure.legend(handles, names, loc="outside lower center", ncols=max(1, across), frameon=False, **look)
        if across == 0 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def _wrapped(text: str, inches: float) -> str:
    """The text in lines of at most that width, at the size of a legend."""
    letters = int(len(text) * min(1.0, inches / text_inches(text, STYLE["font.size"])))
    return "\n".join(textwrap.wrap(text, max(1, letters - 1 if letters < len(text) else letters)))


def save(figure: "Figure", folder: Path, stem: str, svg: bool = True) -> str:
    """Writes `<stem>.png` and, where it is one of lines and words, `<stem>.svg`. Equal figures are equal bytes.

    Call it inside `drawing()`.

    Returns:
        The PNG's name, as `Picture.file` takes it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    png = folder / f"{stem}.png"
    if svg:
        figure.savefig(folder / f"{stem}.svg", format="svg", metadata={"Date": None, "Creator": None})
        figure.set_layout_engine("none")  # laid out by now; many panels take seconds
    figure.savefig(png, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    if svg:
        with Image.open(png, formats=FORMATS) as image:  # lines and words need few colours: a third of the bytes
            # The method that keeps rare colours: a heat map is read by them.
            few = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(png, optimize=True)
    return png.name
