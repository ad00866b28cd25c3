"""What solids and rooms look like: photographs as textures, light, shadows on the floor and highlights."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tessera.data.datasets.scene_layout import FAMILIES, MOST, Scenes
from tessera.data.rays import BOX, FLOOR, NONE, SPHERE, Array, Hits, dot, pixel_rays

TEXELS = 128  # a texture's side
LEVELS = 5  # of a texture, each of half the side of the one before
COARSER = 1.4 * 2.0 ** np.arange(LEVELS - 1)  # of the finest texels, so many a pixel ask for the next level
GREY = (0.3, 0.6, 0.1)  # of red, green and blue
SIDES = np.array([*[1.1] * MOST, 2.6, 3.0], dtype=np.float32)  # m that a texture covers of solids, floor and walls
OWN = 0.2  # share of the photograph's own colours in those of a solid
# Dark and bright colour of each family at both ends of its range of hues, RGB, 0 to 255.
PALETTE = {
    "red": (((70, 8, 22), (242, 96, 128)), ((84, 18, 4), (255, 122, 70))),
    "yellow": (((92, 56, 4), (255, 206, 84)), ((78, 72, 4), (244, 236, 92))),
    "green": (((16, 56, 8), (150, 220, 80)), ((4, 58, 34), (84, 226, 160))),
    "blue": (((4, 40, 84), (86, 178, 246)), ((30, 20, 88), (146, 132, 252))),
}
COLORS = np.array([PALETTE[family] for family in FAMILIES], dtype=np.float32)  # (family, end, dark or bright, RGB)


class Textures:
    """Square parts of photographs' tiles, at several resolutions.

    Args:
        tiles: (h, w, 3), 0 to 255, of sides of at least `TEXELS`.
    """

    def __init__(self, tiles: list[np.ndarray]) -> None:
        parts = [part for tile in tiles for part in (tile[:TEXELS, :TEXELS], tile[-TEXELS:, -TEXELS:])]
        levels = [np.stack([self._with_contrast(part) for part in parts])]
        for _ in range(LEVELS - 1):
            number, side = levels[-1].shape[:2]
            levels.append(levels[-1].reshape(number, side // 2, 2, side // 2, 2, 4).mean(axis=(2, 4)))
        self.number = len(parts)
        self._sides = np.array([level.shape[1] for level in levels])
        self._starts = np.cumsum([0, *(level.size // 4 for level in levels[:-1])])
        self._texels = np.concatenate([level.reshape(-1, 4) for level in levels]).astype(np.float32)

    @staticmethod
    def _with_contrast(part: np.ndarray) -> np.ndarray:
        """(s, s, 3) to (s, s, 4), whole numbers to 255: its colours, and its grey brought to one mean and contrast."""
        colors = part.astype(np.float64)
        grey = dot(GREY, [colors[..., i] for i in range(3)])
        even = 128 + 52 * (grey - grey.mean()) / (grey.std() + 4)
        # Rounded: sums of many numbers differ in their last digits between processors.
        return np.concatenate([colors, even[..., None]], axis=-1).round().clip(0, 255)

    def look_up(self, which: np.ndarray, at: np.ndarray, texels: np.ndarray) -> np.ndarray:
        """Interpolates between texels; textures go on mirrored.

        Args:
            which: (P,), number of the texture.
            at: (P, 2), right and down, in textures.
            texels: (P,), how many of the finest one a pixel covers.

        Returns:
            (P, 4), 0 to 1: red, green, blue, and grey of even contrast.
        """
        level = np.searchsorted(COARSER, texels)
        side, start = self._sides[level], self._starts[level]
        start = start + which * side * side
        folded = 1 - abs(np.mod(at, 2) - 1)
        place = (folded * side[:, None] - 0.5).astype(np.float32).clip(0, (side - 1)[:, None].astype(np.float32))
        low = place.astype(np.int64)
        high = np.minimum(low + 1, (side - 1)[:, None])
        share = (place - low).astype(np.float32)
        found = np.zeros((len(at), 4), dtype=np.float32)
        for rows, down in ((low[:, 1], 1 - share[:, 1]), (high[:, 1], share[:, 1])):
            for columns, right in ((low[:, 0], 1 - share[:, 0]), (high[:, 0], share[:, 0])):
                found += self._texels[start + rows * side + columns] * (down * right)[:, None]
        return found / np.float32(255)


def paint(scenes: Scenes, hits: Hits, textures: Textures) -> NDArray[np.float32]:
    """Colours of what the rays meet, (N, H, W, 3), 0 to 1 and somewhat above."""
    ids, shape = hits.ids, hits.ids.shape
    slot = np.where(ids >= 0, ids, np.where(ids == FLOOR, MOST, MOST + 1))
    scene = np.broadcast_to(np.arange(shape[0])[:, None, None], shape)
    x, y = pixel_rays(scenes.cameras.focal, shape[1], shape[2], np.dtype(np.float32))
    length = np.sqrt(x * x + y * y + 1)
    view = [-x / length, -y / length, -1 / length]
    normal = [hits.normals[..., axis] for axis in range(3)]
    facing = dot(normal, view)
    pixel = hits.depth * length / (scenes.cameras.focal * shape[1] * np.maximum(facing, 0.2))  # m
    seen = scenes.looks.texture[scene, slot].reshape(-1, 3)
    sides = SIDES[slot].reshape(-1)
    texels = textures.look_up(
        (seen[:, 0] * textures.number).astype(np.int64),
        hits.surface.reshape(-1, 2) / sides[:, None] + 2 * seen[:, 1:],
        pixel.reshape(-1) * TEXELS / sides,
    ).reshape(*shape, 4)
    color = _of_room(texels, ids)
    solid = np.nonzero(ids >= 0)
    color[solid] = _of_solids(texels[solid], solid[0], ids[solid], scenes)
    turned = scenes.cameras.rotation[:, :, :, None, None]
    towards = [scenes.looks.light[:, axis, None, None] for axis in range(3)]
    light = [dot([turned[:, j, i] for j in range(3)], towards) for i in range(3)]
    down, lit = dot([turned[:, 1, i] for i in range(3)], normal), dot(normal, light)
    shade = (0.5 - 0.14 * down + 0.62 * np.maximum(lit, 0)) * _near_corners(scenes, hits)
    floor = np.nonzero(ids == FLOOR)
    shade[floor] *= _shadows(scenes, floor[0], hits.points[floor])
    warmth = scenes.looks.warmth[:, None, None, None] * np.array([0.07, 0, -0.09], dtype=np.float32)
    painted = color * shade[..., None] * (1 + warmth) + _highlights(scenes, ids, normal, view, light)[..., None]
    return np.asarray(painted, dtype=np.float32)


def _of_room(texels: np.ndarray, ids: NDArray[np.int8]) -> np.ndarray:
    """Faint colours: of the floor with more, of the walls with less contrast."""
    grey = dot(GREY, [texels[..., i] for i in range(3)])[..., None]
    faint = 0.5 * texels[..., :3] + 0.25 * grey + 0.25 * texels[..., 3:]
    floor = (ids == FLOOR)[..., None]
    return np.where(floor, 0.16 + 0.66 * faint, 0.42 + 0.42 * faint).astype(np.float32)


def _of_solids(texels: np.ndarray, scene: np.ndarray, number: np.ndarray, scenes: Scenes) -> np.ndarray:
    looks = scenes.looks
    one, other = np.moveaxis(COLORS[looks.family] / 255, 2, 0)  # (N, K, dark or bright, RGB)
    hue, bright = looks.shade[..., 0, None, None], looks.shade[..., 1, None, None]
    ends = ((one + hue * (other - one)) * (0.85 + 0.25 * bright)).astype(np.float32)
    dark, light = np.moveaxis(ends[scene, number], 1, 0)
    return np.asarray((1 - OWN) * (dark + (light - dark) * texels[:, 3:]) + OWN * texels[:, :3])


def _near_corners(scenes: Scenes, hits: Hits) -> np.ndarray:
    """Less light reaches the corners of the room, and what is just above the floor."""
    x, y, z = np.moveaxis(hits.points, -1, 0)
    left, right, back = (wall[:, None, None] for wall in scenes.walls.T)

    def dim(distance: np.ndarray, reach: float) -> np.ndarray:
        nearness = np.maximum(1 - distance / np.float32(reach), 0)
        return 1 - np.float32(0.3) * nearness * nearness

    floor = hits.ids == FLOOR
    along_walls = dim(x - left, 0.8) * dim(right - x, 0.8) * dim(back - z, 0.8)
    return np.where(floor, along_walls, np.where(hits.ids >= 0, dim(-y, 0.3), dim(-y, 0.8)))


def _shadows(scenes: Scenes, scene: np.ndarray, points: np.ndarray) -> np.ndarray:
    """What the solids leave of the light on the floor, (P,): darkest where they stand, and away from the light."""
    left = np.ones(len(points), dtype=np.float32)
    light = scenes.looks.light
    thrown = np.float32(0.9) * light[:, ::2] / light[:, 1:2]  # by half of a height of 1
    for k in range(MOST):
        shape, centre, half, turn = (of[:, k] for of in scenes.solids)
        width, height, depth = half.T
        shift = thrown * height[:, None]
        reach = np.where(shape == NONE, 0, width + depth + height + abs(shift).max(axis=1))
        x, z = (points[:, axis] - centre[scene, axis] for axis in (0, 2))
        near = np.flatnonzero(np.maximum(abs(x), abs(z)) < reach[scene])
        of, x, z = scene[near], x[near], z[near]
        ball, box, (c, s) = (shape == SPHERE)[of], (shape == BOX)[of], turn[of].T
        # A ball stands on a point.
        for share, foot, fade, moved in (
            (0.55, np.where(ball, 0.45, 1), np.where(ball, 1, 0.5), 0),
            (0.45, 0.8, 0.7, 1),
        ):
            away_x, away_z = x - moved * shift[of, 0], z - moved * shift[of, 1]
            beside_x, beside_z = abs(c * away_x - s * away_z), abs(s * away_x + c * away_z)
            beside_x = np.where(box, np.maximum(beside_x - width[of], 0), beside_x)
            beside_z = np.where(box, np.maximum(beside_z - depth[of], 0), beside_z)
            off = np.sqrt(beside_x * beside_x + beside_z * beside_z)
            off = np.where(box, off, np.maximum(off - foot * width[of], 0))
            dark = np.maximum(1 - off / (fade * height[of]), 0)
            left[near] *= (1 - share * dark * dark).astype(np.float32)
    return left


def _highlights(
    scenes: Scenes, ids: NDArray[np.int8], normal: Sequence[Array], view: Sequence[Array], light: Sequence[Array]
) -> np.ndarray:
    """What solids mirror of the light: (n . h)^32, h between light and camera."""
    between = [v + of for v, of in zip(view, light, strict=True)]
    length = np.sqrt(dot(between, between))
    power = np.maximum(dot(normal, between) / length, 0)
    for _ in range(5):
        power = power * power
    round_ = np.take_along_axis(scenes.solids.shape, np.maximum(ids, 0).reshape(len(ids), -1).astype(np.int64), axis=1)
    strength = np.where(round_.reshape(ids.shape) == BOX, 0.08, 0.32).astype(np.float32)
    return np.where(ids >= 0, strength * power, 0)
