"""Images are read in the forms that are meant, and no file starts another program."""

import ast
import contextlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from tessera.data.datasets.layout import SUFFIXES
from tessera.data.datasets.voc_form import size_of
from tessera.data.decode import Encoded, check_image, decode_image, decode_images, decode_whole
from tessera.data.formats import FORMATS, other_form
from tessera.data.packed import _suits_nvjpeg
from tessera.errors import DataError

PACKAGE = Path(__file__).parents[2] / "workflow"

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n"
FITS = ("SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    2",
        "NAXIS1  =                    8", "NAXIS2  =                    8", "END")  # fmt: skip
OTHERS = {
    "EPS": EPS,
    "EPS of DOS": b"\xc5\xd0\xd3\xc6" + (32).to_bytes(4, "little") + len(EPS).to_bytes(4, "little") + bytes(20) + EPS,
    "PSD": b"8BPS\0\1" + bytes(6) + b"\0\3" + (8).to_bytes(4) * 2 + b"\0\x08\0\3" + bytes(12 + 2 + 3 * 64),
    "FITS": b"".join(line.ljust(80).encode() for line in FITS).ljust(2880) + bytes(64),
    "WMF": b"\xd7\xcd\xc6\x9a\0\0" + bytes(4) + b"\x08\0\x08\0\x60\0" + bytes(6) + b"\x01\0\x09\0" + bytes(14),
    "EMF": b"\x01\0\0\0" + bytes(36) + b" EMF" + bytes(60),
    "ICNS": b"icns\0\0\0\x10ic07\0\0\0\x08",
    "PDF": b"%PDF-1.7\n",
    "GRIB": b"GRIB\0\0\0\1",
    "HDF5": b"\x89HDF\r\n\x1a\n",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
}  # fmt: skip
SAVED = ["AVIF", "BLP", "DDS", "ICO", "IM", "JPEG2000", "MSP", "PCX", "PDF", "SGI", "SPIDER", "TGA", "XBM", "QOI"]


def saved(form: str) -> bytes:
    mode = {"MSP": "1", "XBM": "1", "SPIDER": "F", "BLP": "P"}.get(form, "RGB")
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).convert(mode).save(buffer, form)
    return buffer.getvalue()


def error_of(data: bytes) -> str:
    with pytest.raises(DataError) as raised:
        check_image(Encoded("x/1.png", lambda: data))
    for decode in (lambda: decode_image(data, 8), lambda: decode_whole(data)):
        with pytest.raises(OSError, match="cannot identify"):
            decode()
    assert not _suits_nvjpeg(data)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a stand-in for Ghostscript leaves when it is started."""
    (tmp_path / "bin").mkdir()
    for name in ("gs", "gswin32c", "gswin64c"):
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n: > {tmp_path / 'mark'}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # looked for again
    return tmp_path / "mark"


@pytest.mark.parametrize("form", OTHERS)
def test_no_file_starts_another_program(form: str, tmp_path: Path, mark: Path) -> None:
    message = error_of(OTHERS[form])
    assert message == (
        f"x/1.png: cannot be decoded (it seems to be {form.split()[0]}, not JPEG, PNG, BMP, GIF, WebP, TIFF or PPM). "
        "Convert, remove or replace it."
    )
    file = tmp_path / "1.png"
    file.write_bytes(OTHERS[form])
    assert size_of(file) is None
    assert not mark.exists()


def test_pillow_would_start_it(mark: Path) -> None:
    """What this is about: should this fail, the precaution can go."""
    with contextlib.suppress(OSError), Image.open(io.BytesIO(EPS)) as image:  # every form that Pillow knows
        image.load()
    assert mark.exists()


@pytest.mark.parametrize("form", SAVED)
def test_what_pillow_knows_besides_is_refused(form: str) -> None:
    Image.init()
    if form not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {form}")
    assert "cannot be decoded (" in error_of(saved(form))


@pytest.mark.parametrize(
    ("suffix", "form"),
    [*zip(SUFFIXES, ["JPEG", "JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "TIFF", "PPM", "PPM", "PPM"], strict=True)],
)
def test_what_is_promised_is_read_whatever_its_name(suffix: str, form: str) -> None:
    pixels = np.full((8, 8, 3), 100, np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert("L") if suffix == ".pgm" else image).save(buffer, form)
    other = f"1{SUFFIXES[0]}" if form != "JPEG" else "1.png"
    read = decode_images([Encoded(other, buffer.getvalue)], 8, "x")
    assert np.abs(read[0].astype(int) - pixels).max() <= 3
    assert form in FORMATS


def test_photographs_of_telephones_are_read() -> None:
    """A JPEG with a second image in it, which Pillow calls MPO."""
    buffer = io.BytesIO()
    first, second = (Image.new("RGB", (8, 8), (value, value, value)) for value in (100, 200))
    first.save(buffer, "MPO", save_all=True, append_images=[second])
    assert Image.open(io.BytesIO(buffer.getvalue()), formats=FORMATS).format == "MPO"
    assert abs(int(decode_image(buffer.getvalue(), 8)[0, 0, 0]) - 100) <= 3


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (b"  <!DOCTYPE html><html>", "a page of HTML"),
        (b"\xef\xbb\xbf<svg xmlns=", "SVG"),
        (b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS, not yet pulled"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\0\0\0\x20ftypisom", "a film"),
        (b"hello", None),
        (b"", None),
    ],
)
def test_first_bytes_say_what_it_is(data: bytes, form: str | None) -> None:
    assert other_form(data) == form


def test_every_opening_names_its_forms() -> None:
    """Without them, Pillow tries all that it knows. Other libraries' readers are not used at all."""
    opened = 0
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Image.open"):
                forms = [ast.unparse(word.value) for word in node.keywords if word.arg == "formats"]
                assert forms == ["FORMATS"], f"{file}:{node.lineno}"
                opened += 1
            assert not (isinstance(node, ast.ImportFrom) and node.module == "PIL.Image"), f"{file}: `open` by its name"
            names = {ast.Name: "id", ast.Attribute: "attr", ast.alias: "name"}
            name = getattr(node, names.get(type(node), ""), "")
            assert name.rpartition(".")[2] not in ("imread", "default_loader", "pil_loader", "read_image"), file
    assert opened > 8
