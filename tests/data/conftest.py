"""Small image trees, with classes or with boxes, and archives of them."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

MakeTree = Callable[..., Path]
Pack = Callable[[Path, str], Path]


class Voc:
    """Hand-made trees in Pascal VOC form."""

    @staticmethod
    def jpeg(seed: int, width: int = 40, height: int = 30, form: str = "jpeg") -> bytes:
        """A random image."""
        buffer = io.BytesIO()
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, form)
        return buffer.getvalue()

    @staticmethod
    def marked(name: str, corners: Sequence[Any], difficult: Any = 0) -> str:
        """An object, as VOC writes it."""
        tags = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
        box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
        return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox></object>"

    @staticmethod
    def annotation(*objects: str, filename: str = "", size: tuple[int, int] = (40, 30)) -> str:
        """An annotation of an image of this width and height."""
        about = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
        return f"<annotation><filename>{filename}</filename>{about}{''.join(objects)}</annotation>"

    def write(
        self, root: Path, annotations: Mapping[str, str], lists: Mapping[str, Sequence[str]] | None = None
    ) -> Path:
        """Writes annotations, an image for each, 40 x 30 px, and lists of them."""
        for folder in ("Annotations", "JPEGImages", "ImageSets/Main")[: 3 if lists else 2]:
            (root / folder).mkdir(parents=True, exist_ok=True)
        for number, (name, text) in enumerate(annotations.items()):
            (root / "Annotations" / f"{name}.xml").write_text(text)
            (root / "JPEGImages" / f"{name}.jpg").write_bytes(self.jpeg(number))
        for name, names in (lists or {}).items():
            (root / "ImageSets/Main" / f"{name}.txt").write_text("".join(f"{line}\n" for line in names))
        return root


@pytest.fixture
def voc() -> Voc:
    return Voc()


def png(seed: int, size: int = 8) -> bytes:
    """A random image, lossless."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture
def make_tree(tmp_path: Path) -> MakeTree:
    """Makes a tree: names of files, each with its own random image."""

    def make(*names: str, root: str = "tree") -> Path:
        folder = tmp_path / root
        for number, name in enumerate(names):
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(number))
        return folder

    return make


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Packs a tree into an archive beside it, its members in an unhelpful order."""

    def make(tree: Path, suffix: str) -> Path:
        archive = tmp_path / f"packed{suffix}"
        files = sorted((file for file in tree.rglob("*") if file.is_file()), key=lambda file: file.name[::-1])
        if suffix == ".zip":
            with zipfile.ZipFile(archive, "w") as zipped:
                for file in files:
                    zipped.write(file, file.relative_to(tree.parent))
        else:
            mode = {".tar.gz": "w:gz", ".tar.xz": "w:xz", ".tar.bz2": "w:bz2", ".tar": "w"}[suffix]
            with tarfile.open(archive, mode) as tarred:  # type: ignore[call-overload]
                for file in files:
                    tarred.add(file, file.relative_to(tree.parent))
        return archive

    return make
