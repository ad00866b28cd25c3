"""Pictures inside a page: small, whatever they show."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tessera.report.page import embed
from tessera.report.page.embed import embedded
from tessera.report.pictures.album import Album, Picture
from tessera.report.pictures.drawing import drawing, save


def photograph(seed: int, side: int = 200) -> bytes:
    """Something that no compression without loss makes small."""
    noise = np.random.default_rng(seed).integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    smooth = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(seed).normal(0, 8, (side, side, 3))
    Image.fromarray((np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def album(**files: bytes) -> Album:
    found = {name.replace("_", "."): content for name, content in files.items()}
    return Album(tuple(Picture(name, "T", "C", "K") for name in found if name.endswith(".png")), found)


def decoded(uri: str) -> tuple[str, bytes]:
    head, _, data = uri.partition(",")
    return head, base64.b64decode(data)


def test_a_photograph_becomes_small_and_stays_itself() -> None:
    before = photograph(0)
    head, after = decoded(embedded(album(a_png=before))["a.png"])
    assert head == "data:image/webp;base64"
    assert len(after) < len(before) / 3
    with Image.open(io.BytesIO(after)) as ours, Image.open(io.BytesIO(before)) as theirs:
        assert ours.size == theirs.size
        assert np.abs(np.asarray(ours.convert("RGB")).astype(int) - np.asarray(theirs)).mean() < 12


def test_lines_stay_as_they_are_drawn() -> None:
    found = embedded(album(a_png=photograph(0), a_svg=b"<svg/>"))
    assert decoded(found["a.png"]) == ("data:image/svg+xml;base64", b"<svg/>")


def test_many_photographs_share_what_a_page_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    many = album(**{f"p{index}_png": photograph(index) for index in range(6)})
    whole = sum(len(decoded(uri)[1]) for uri in embedded(many).values())
    monkeypatch.setattr(embed, "MOST_BYTES", whole // 2)
    found = embedded(many)
    assert sum(len(decoded(uri)[1]) for uri in found.values()) <= whole // 2
    assert found == embedded(many)


def test_a_heat_map_keeps_its_colours(tmp_path: Path) -> None:
    """Few colours make a file small; those that are rare must not be the ones that go."""

    from matplotlib.figure import Figure

    figure = Figure(figsize=(3, 2))
    ax = figure.add_axes((0, 0, 1, 1))
    values = np.tile(np.r_[np.zeros(200), np.linspace(0, 1, 100)], (2, 1))
    ax.imshow(values, cmap="Blues", aspect="auto")
    folder = tmp_path
    with drawing():
        save(figure, folder, "lossless", svg=False)
        save(figure, folder, "few")
    with Image.open(folder / "few.png") as few, Image.open(folder / "lossless.png") as whole:
        gap = np.abs(np.asarray(few.convert("RGB")).astype(int) - np.asarray(whole.convert("RGB")))
    assert gap.max() <= 8
