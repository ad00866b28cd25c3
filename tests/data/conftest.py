"""Small image trees and archives of them."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeTree = Callable[..., Path]
Pack = Callable[[Path, str], Path]


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
