"""Rendered scenes with maps of labels: textures come with scikit-learn, so that nothing is downloaded."""

from pathlib import Path

import numpy as np

from tessera.data.columns import RawColumn
from tessera.data.datasets.base import DatasetReader, RawDataset
from tessera.data.datasets.digits_m import tiles
from tessera.data.datasets.scene_layout import FAMILIES, FOCAL, KINDS, MOST, Scenes, draw_scenes
from tessera.data.datasets.scene_painting import Textures, paint
from tessera.data.rays import Hits, cast

AT_ONCE = 8  # images, so that what is computed of them stays in the processor's cache
BASELINE = 0.2  # m between the two cameras of a disparity
SHAPES = ("sphere", "box", "cylinder")
ROOM = "room"


class RenderedScenes(DatasetReader):
    """Ray-cast spheres, boxes and upright cylinders in four families of colours, in rooms with a floor and three walls.

    Textures are parts of scikit-learn's two photographs; training and test images share no pixel of them, and no scene.
    A pixel's colour is the mean of four rays; its labels are those of its centre.

    Label columns:
        segmentation (13): the room, and three shapes in four families of colours.
        shapes (4), foreground (2): the same, coarser.
        depth: m, along the optical axis. disparity: px, to a second camera 0.2 m to the right. normals.
        instances (6): the room, and the solids of the image by number, which stay the same in a sequence; nothing else
            is alike in two of a number.
        number (5): of the solids that are seen. largest (3): shape of the one that covers most pixels.
        sequence, frame: of an image, where there is more than one frame; images of a sequence follow one another.

    Shape:
        images: (num_train + num_test, image_size, image_size, 3) uint8, training images first.
    """

    def read(self, data_root: Path) -> RawDataset:
        options, size = self.options, self.options.image_size
        numbers = (options.num_train, options.num_test)
        made = [
            _render(
                draw_scenes(number // options.frames, options.frames, np.random.default_rng((options.seed, split))),
                Textures(part),
                size,
            )
            for split, (number, part) in enumerate(zip(numbers, tiles(), strict=True))
        ]
        images, ids, depth, normals, kinds = (np.concatenate(both) for both in zip(*made, strict=True))
        columns = _columns(ids, depth, normals, kinds, size)
        if options.frames > 1:
            sequence, frame = np.divmod(np.arange(sum(numbers)), options.frames)
            columns["sequence"] = RawColumn(sequence, [f"{number:05}" for number in range(sequence[-1] + 1)])
            columns["frame"] = RawColumn(frame, [f"{number:02}" for number in range(options.frames)])
        columns |= {name: columns[of] for name, of in (options.columns or {}).items()}
        rows = np.arange(sum(numbers))
        splits = {"train": rows[: numbers[0]], "test": rows[numbers[0] :]}
        return RawDataset(images, np.full(len(rows), -1, dtype=np.int64), splits, [], columns=columns)


Rendered = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _render(scenes: Scenes, textures: Textures, size: int) -> Rendered:
    """Images (N, H, W, 3) uint8; ids, depth and normals of `Hits`; kinds of the solids (N, K), numbers of `KINDS`."""
    number = len(scenes.walls)
    images = np.empty((number, size, size, 3), dtype=np.uint8)
    ids = np.empty((number, size, size), dtype=np.int8)
    depth = np.empty((number, size, size), dtype=np.float16)
    normals = np.empty((number, size, size, 3), dtype=np.float16)
    for start in range(0, number, AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        part = scenes.part(rows)
        colors = paint(part, _seen(part, 2 * size), textures)
        four = colors[:, ::2, ::2] + colors[:, ::2, 1::2] + (colors[:, 1::2, ::2] + colors[:, 1::2, 1::2])
        images[rows] = (four * np.float32(255 / 4)).round().clip(0, 255)
        hits = _seen(part, size)
        ids[rows], depth[rows], normals[rows] = hits.ids, hits.depth, hits.normals
    return images, ids, depth, normals, scenes.solids.shape * len(FAMILIES) + scenes.looks.family


def _seen(scenes: Scenes, size: int) -> Hits:
    return cast(scenes.cameras, scenes.solids, scenes.walls, size, size)


def _columns(
    ids: np.ndarray, depth: np.ndarray, normals: np.ndarray, kinds: np.ndarray, size: int
) -> dict[str, RawColumn]:
    numbers = np.maximum(ids + 1, 0).astype(np.uint8)  # 0: the room
    segmentation = np.zeros_like(numbers)
    shares = np.empty(kinds.shape, dtype=np.int64)  # pixels of each solid
    for k in range(MOST):
        here = numbers == k + 1
        shares[:, k] = here.sum(axis=(1, 2))
        segmentation = np.where(here, (kinds[:, k, None, None] + 1).astype(np.uint8), segmentation)
    shapes = (segmentation + np.uint8(len(FAMILIES) - 1)) // np.uint8(len(FAMILIES))
    largest = np.take_along_axis(kinds, shares.argmax(axis=1)[:, None], axis=1)[:, 0] // len(FAMILIES)
    seen = (shares > 0).sum(axis=1)
    disparity = np.float32(BASELINE * FOCAL * size) / depth.astype(np.float32)
    names = [f"{FAMILIES[family]}_{SHAPES[shape]}" for shape, family in KINDS]
    return {
        "segmentation": RawColumn(segmentation, [ROOM, *names], "class_map"),
        "shapes": RawColumn(shapes, [ROOM, *SHAPES], "class_map"),
        "foreground": RawColumn(np.minimum(numbers, 1), [ROOM, "solid"], "class_map"),
        "instances": RawColumn(numbers, [ROOM, *(f"solid_{k + 1}" for k in range(MOST))], "class_map"),
        "depth": RawColumn(depth, [], "depth_map"),
        "disparity": RawColumn(disparity.astype(np.float16), [], "disparity_map"),
        "normals": RawColumn(normals, [], "normal_map"),
        "number": RawColumn(np.where(seen > 0, seen - 1, -1), [str(k + 1) for k in range(MOST)]),
        "largest": RawColumn(np.where(seen > 0, largest, -1), list(SHAPES)),
    }
