"""Stand-ins for faces: coloured noise in files that are named as UTKFace's are. No test holds or shows a real face."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

DATE = 20170109150557335


def noise(seed: int, side: int = 20) -> bytes:
    """A JPEG of blocks in random colours; equal seeds are equal pixels."""
    blocks = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(blocks).resize((side, side), Image.Resampling.NEAREST).save(stream, "jpeg", quality=95)
    return stream.getvalue()


def write_faces(folder: Path, who: Iterable[tuple[int, int, int]], side: int = 20) -> Path:
    """One file for each age, gender and race, all with other pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (age, gender, race) in enumerate(who):
        name = f"{age}_{gender}_{race}_{DATE + number}.jpg.chip.jpg"
        (folder / name).write_bytes(noise(number, side))
    return folder


def everybody(each: int) -> list[tuple[int, int, int]]:
    """So many of each age class, of both genders and all races."""
    return [(10 * age + number % 10, number % 2, (age + number) % 5) for age in range(7) for number in range(each)]
