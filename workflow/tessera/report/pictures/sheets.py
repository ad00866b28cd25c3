"""Reads the small pictures that artifacts keep (`tessera.data.thumbnails`). Never imports torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.data.formats import FORMATS
from tessera.errors import ArtifactError

if TYPE_CHECKING:
    import numpy as np


def read_sheet(path: Path, strips: Sequence[Sequence[int]]) -> "list[np.ndarray]":
    """The images of each strip of a sheet.

    Args:
        strips: Number, height and width of each strip's images, as they were kept beside the sheet.

    Shape:
        returns: for each strip (n, h, w, 3) uint8.

    Raises:
        ArtifactError: If the sheet is missing or damaged, or does not hold those strips.
    """
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            sheet = np.asarray(image.convert("RGB"))
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error}). Delete its folder; it is made again.") from error
    found, top = [], 0
    for number, height, width in strips:
        strip = sheet[top : top + height, : number * width]
        if strip.shape != (height, number * width, 3):
            raise ArtifactError(f"{path}: is smaller than what it should hold. Delete its folder; it is made again.")
        found.append(strip.reshape(height, number, width, 3).swapaxes(0, 1))
        top += height
    return found
