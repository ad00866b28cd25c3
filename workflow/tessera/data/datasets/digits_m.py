"""Digits over photographs: a dataset that comes with scikit-learn, so that nothing is downloaded."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits, load_sample_image

from tessera.data.columns import RawColumn
from tessera.data.datasets.base import DatasetReader, ListedDataset, RawDataset
from tessera.data.datasets.levels import columns_above
from tessera.data.store import label_subset

PHOTOGRAPHS = ("china.jpg", "flower.jpg")
REDUCTIONS = (1, 2, 4)  # crops of so many times the image's height and width, at 32 px of 32, 64 and 128 px
TILES = (2, 4)  # each photograph is cut into so many rows and columns of tiles,
TESTED_TILES = {(0, 2), (1, 1)}  # of which these are for test crops, the others for training crops
GROUPS = {
    "straight": ("1", "4", "7"),
    "looped": ("0", "6", "8", "9"),
    "curved": ("2", "3", "5"),
}  # of how a digit is drawn


class DigitsM(DatasetReader):
    """scikit-learn's 1,797 handwritten digits, blended over random crops of its two colour photographs.

    Source: in the manner of MNIST-M (Ganin et al., JMLR 2016): |crop - digit|, channel by channel.
    We take the 8 x 8 digits of scikit-learn, enlarged, for MNIST, and two photographs for BSDS500.

    No handwritten digit is in both splits, and neither is any pixel of a photograph: test crops come from
    two of its eight tiles, training crops from the other six. A digit's copies differ in their crops alone.

    Label columns: the `digit` (10), the `photograph` that it lies over (2), how much of it is seen (`zoom`, 3), and the
    digit's `group` (3) by how it is drawn.

    Shape:
        images: (1797 * copies, H, H, 3) uint8, H 32 unless the options say otherwise, copy by copy.
    """

    def read(self, data_root: Path) -> RawDataset:
        digits = load_digits()
        size, copies = self.options.image_size, self.options.copies
        masks = enlarge(digits.images, size)
        labels = digits.target.astype(np.int64)
        generator = torch.Generator().manual_seed(self.options.seed)
        tested = np.zeros(len(labels), dtype=bool)
        tested[label_subset(torch.from_numpy(labels), self.options.test_fraction, generator).numpy()] = True

        random = np.random.default_rng(self.options.seed)
        for_training, for_testing = _regions()
        images = np.empty((copies, len(labels), size, size, 3), dtype=np.uint8)
        drawn_from = np.empty((copies, len(labels)), dtype=np.int64)
        for copy, drawn in zip(images, drawn_from, strict=True):
            for chosen, regions in ((~tested, for_training), (tested, for_testing)):
                crops, drawn[chosen] = _crops(regions, int(chosen.sum()), size, random)
                copy[chosen] = np.abs(crops - masks[chosen, :, :, None]).round()
        of_digit, every = np.tile(tested, copies), np.tile(labels, copies)
        classes = [str(name) for name in digits.target_names]
        tile, zoom = np.divmod(drawn_from.reshape(-1), len(REDUCTIONS))
        # A photograph's tiles follow one another; it has more of them for training than for testing.
        tested_tiles = len(TESTED_TILES)
        photograph = tile // np.where(of_digit, tested_tiles, TILES[0] * TILES[1] - tested_tiles)
        columns = {
            "digit": RawColumn(every, classes),
            "photograph": RawColumn(photograph, [name.partition(".")[0] for name in PHOTOGRAPHS]),
            "zoom": RawColumn(zoom, [f"crop_{size * factor}_px" for factor in REDUCTIONS]),
            **columns_above({"group": GROUPS}, every, classes, "digits_m"),
        }
        columns |= {name: columns[of] for name, of in (self.options.columns or {}).items()}
        return RawDataset(
            images.reshape(-1, size, size, 3),
            every,
            {"train": np.flatnonzero(~of_digit), "test": np.flatnonzero(of_digit)},
            classes,
            columns=columns,
        )

    def divided(self, found: RawDataset | ListedDataset, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Of handwritten digits, each with all its copies; their crops come from the same tiles."""
        number = len(found.labels) // self.options.copies
        _, first = np.unique(rows % number, return_index=True)
        tested = np.isin(rows % number, super().divided(found, rows[first])["test"] % number)
        return {"train": rows[~tested], "test": rows[tested]}


def tiles() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Parts of the photographs for training and for testing, which share no pixel: (h, w, 3) float32, 0 to 255."""
    for_training: list[np.ndarray] = []
    for_testing: list[np.ndarray] = []
    for name in PHOTOGRAPHS:
        photograph = load_sample_image(name).astype(np.float32)
        height, width = (length // number for length, number in zip(photograph.shape, TILES, strict=False))
        for row, column in np.ndindex(*TILES):
            tile = photograph[row * height : (row + 1) * height, column * width : (column + 1) * width]
            (for_testing if (row, column) in TESTED_TILES else for_training).append(tile)
    return for_training, for_testing


def _regions() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The tiles for training and for testing, each at every reduction."""
    for_training, for_testing = ([_reduce(tile, factor) for tile in part for factor in REDUCTIONS] for part in tiles())
    return for_training, for_testing


def _reduce(image: np.ndarray, factor: int) -> np.ndarray:
    """(h, w, 3) to (h // factor, w // factor, 3), each pixel a mean over a block."""
    height, width = image.shape[0] // factor, image.shape[1] // factor
    blocks = image[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    return np.asarray(blocks.mean(axis=(1, 3)))


def _crops(
    regions: list[np.ndarray], number: int, size: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(number, size, size, 3) float32 from regions drawn evenly, half of the crops mirrored; and which regions."""
    crops = np.empty((number, size, size, 3), dtype=np.float32)
    which = random.integers(len(regions), size=number)
    shares, mirrored = random.random((2, number)), random.random(number) < 0.5
    for index, region in enumerate(regions):
        rows = np.flatnonzero(which == index)
        height, width = region.shape[:2]
        top = (shares[0, rows] * (height - size + 1)).astype(np.int64)
        left = (shares[1, rows] * (width - size + 1)).astype(np.int64)
        grid = np.arange(size)
        crops[rows] = region[(top[:, None] + grid)[:, :, None], (left[:, None] + grid)[:, None, :]]
    crops[mirrored] = crops[mirrored, :, ::-1]
    return crops, which


def enlarge(digits: np.ndarray, size: int) -> np.ndarray:
    """(N, 8, 8), 0 to 16, to (N, size, size) float32, 0 to 255, by cubic interpolation."""
    enlarged = F.interpolate(torch.from_numpy(digits)[:, None] * (255 / 16), size=size, mode="bicubic")
    return np.asarray(enlarged.clamp(0, 255)[:, 0].float().numpy())
