"""What a folder's listing, or an archive's beginning, can tell before any job starts. Never imports torch."""

import lzma
import tarfile
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from tessera.data.datasets.dense_layout import DenseLayout
from tessera.data.datasets.hierarchies import Level, unfit_levels
from tessera.data.datasets.layout import Layout, Parts, ignored, is_image
from tessera.data.datasets.suffixes import TARS
from tessera.data.reading import refuse_unless_regular
from tessera.data.tars import open_tar
from tessera.errors import DataError
from tessera.registry import suggest

MOST = 20_000  # entries: a plan waits for them, and a larger tree is left to the job
_DAMAGE = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError)


def unfit_archive(path: Path) -> str | None:
    """Why a file is no archive that can be read, by its name and its first member; None where it seems to be one."""
    name = path.name.lower()
    suffix = max((end for end in TARS if name.endswith(end)), key=len, default=None)
    try:
        refuse_unless_regular(path)
        if name.endswith(".zip"):
            return None if zipfile.is_zipfile(path) else f"{path}: damaged or incomplete (no zip file). Get it again."
        if suffix is None:
            return f"{path}: not an archive of a known kind. Known: a folder, .zip, {', '.join(TARS)}."
        with TARS[suffix](path, "rb") as stream, open_tar(stream) as archive:
            archive.next()
    except DataError as error:
        return str(error)
    except _DAMAGE as error:
        return f"{path}: damaged or incomplete ({' '.join(str(error).split()) or type(error).__name__}). Get it again."
    except OSError as error:  # also what gzip and bz2 say of bytes that are not theirs
        reason = error.strerror or f"damaged or incomplete: {error}"
        return f"{path}: cannot be read ({reason})."
    return None


def unfit_tree(
    path: Path, train: str | None, test: str | None, classes: list[str] | None, levels: Mapping[str, Level]
) -> str | None:
    """Why a tree of one folder a class is none, or unfit for a hierarchy, in the words of the job that would read it.

    None where it seems to be one, and where it holds too many entries to list.
    """
    listed = _listing(path)
    if listed is None:
        return None
    folders, files = listed
    layout, images = Layout(path, train, test, classes), []
    for folder in folders:
        layout.note(folder)
    for file in files:
        if is_image(file) and layout.wants(file):
            images.append(file)
    if not layout.holders:
        return f"{path}: holds no images. Found {layout.found()}."
    try:
        placed = layout.resolve(images, warn=False)
    except DataError as error:
        return str(error)
    unfit = unfit_levels(levels, placed.classes)
    return None if unfit is None else f"{path}: {unfit}"


def unfit_names(path: Path, fits: Callable[[Parts], bool], wanted: str) -> str | None:
    """Why a tree holds no file that fits; None where it holds one, or too many entries to list.

    Args:
        wanted: What is missing then, for the message.
    """
    listed = _listing(path)
    return None if listed is None or any(map(fits, listed[1])) else f"{path}: holds {wanted}."


def unfit_dense(path: Path, layout: DenseLayout) -> str | None:
    """Why a tree lacks images or their maps, in the words of the job that would read it.

    None where it lacks none, and where it holds too many entries to list.
    """
    listed = _listing(path)
    if listed is None:
        return None
    for file in listed[1]:
        layout.note(file)
    try:
        layout.resolve()
    except DataError as error:
        return str(error)
    return None


def unfit_voc(path: Path, train: str, test: str | None) -> str | None:
    """Why a tree is not one in Pascal VOC form; None where it seems to be one, or holds too many entries to list."""
    listed = _listing(path)
    if listed is None:
        return None
    _, files = listed
    if not any(file[-2:-1] == ("Annotations",) and file[-1].lower().endswith(".xml") for file in files):
        return f"{path}: holds no `Annotations/*.xml`."
    if not any("JPEGImages" in file[:-1] and is_image(file) for file in files):
        return f"{path}: holds no images in `JPEGImages`."
    lists = {file[-1][:-4] for file in files if file[-3:-1] == ("ImageSets", "Main") and file[-1].endswith(".txt")}
    for split, name in (("train", train), ("test", test)):
        if lists and name is not None and name not in lists:
            return f"{path}: no list `ImageSets/Main/{name}.txt` for `{split}`. {suggest(name, lists)}"
    return None


def _listing(root: Path) -> tuple[list[Parts], list[Parts]] | None:
    """Folders and files of a tree, the top first; None where there are too many, or one cannot be listed."""
    folders: list[Parts] = []
    files: list[Parts] = []
    waiting: deque[Parts] = deque([()])
    while waiting:
        above = waiting.popleft()
        try:
            for path in root.joinpath(*above).iterdir():
                parts = (*above, path.name)
                if len(folders) + len(files) >= MOST or path.is_symlink():
                    return None  # a link may lead anywhere, and round
                if ignored(parts):
                    continue
                if path.is_dir():
                    folders.append(parts)
                    waiting.append(parts)
                else:
                    files.append(parts)
        except OSError:
            return None
    return sorted(folders), sorted(files)
