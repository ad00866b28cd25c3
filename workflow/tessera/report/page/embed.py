"""Pictures inside a page, few bytes each, so that the page can be sent around."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from tessera.data.formats import FORMATS
from tessera.report.pictures.album import Album

MOST_BYTES = 1_200_000  # of all pictures of a page; base64 adds a third, and 2 MB are what a page may have
# Quality of WebP, and of each side's pixels what is kept: the first of these with which all pictures fit.
STEPS = ((90, 1.0), (75, 1.0), (50, 1.0), (40, 0.6))


def embedded(album: Album) -> dict[str, str]:
    """Each picture's file as a data URI: lines and words as they are; photographs (no SVG beside them) as WebP.

    The files in `figures/` keep every pixel. Equal albums give equal URIs.
    """
    names = [picture.file for picture in album.pictures]
    drawn = {name: _drawn(name, album.files) for name in names if _svg(name) in album.files}
    photographs = {name: album.files[name] for name in names if name not in drawn}
    room = MOST_BYTES - sum(len(content) for _, content in drawn.values())
    shrunk: dict[str, tuple[str, bytes]] = {}
    for quality, scale in STEPS:
        shrunk = {name: _shrunk(content, quality, scale) for name, content in photographs.items()}
        if sum(len(content) for _, content in shrunk.values()) <= room:
            break
    found = {**drawn, **shrunk}
    return {
        name: f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        for name, (kind, content) in found.items()
    }


def _svg(name: str) -> str:
    return f"{Path(name).stem}.svg"


def _drawn(name: str, files: Mapping[str, bytes]) -> tuple[str, bytes]:
    """In whichever form is smaller."""
    return min(("png", files[name]), ("svg+xml", files[_svg(name)]), key=lambda form: len(form[1]))


def _shrunk(content: bytes, quality: int, scale: float) -> tuple[str, bytes]:
    stream = io.BytesIO()
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        rgb = image.convert("RGB")
    if scale < 1:
        rgb = rgb.resize(
            (max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))), Image.Resampling.LANCZOS
        )
    rgb.save(stream, "WEBP", quality=quality, method=4)
    return min(("png", content), ("webp", stream.getvalue()), key=lambda form: len(form[1]))
