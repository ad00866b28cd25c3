"""Where solids stand in rooms, how they are lit and how camera and solids move: drawn for many scenes at once."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tessera.data.rays import BOX, CYLINDER, NONE, SPHERE, Cameras, Solids, rotation, turn_by

FOCAL = 1.0  # focal length, in heights of the image: 53 degrees
MOST = 5  # solids a scene
FEWEST = 2
FAMILIES = ("red", "yellow", "green", "blue")
KINDS = tuple((shape, family) for shape in (SPHERE, BOX, CYLINDER) for family in range(len(FAMILIES)))
TRIES = 24  # places that are tried for a solid, before it is left out
GAP = 0.06  # m between two solids, and between a solid and a wall
APART = 0.6  # of the sum of two solids' half widths in the image: so far apart are their centres, that none is hidden
NEAREST = 1.1  # m between the camera and a solid
DISTANCES = (2.0, 6.5)  # m, of solids from where the camera begins
WAY = 0.07  # m that camera and solids go from one frame to the next, at most


# Half of the sides, m, by shape; y is half the height.
SMALLEST = ((0.32, 0.32, 0.32), (0.24, 0.24, 0.24), (0.24, 0.3, 0.24))
LARGEST = ((0.65, 0.65, 0.65), (0.55, 0.7, 0.55), (0.48, 0.75, 0.48))


class Looks(NamedTuple):
    """What the surfaces look like.

    Shape:
        family: (N, K) int64, of the solids' colours.
        shade: (N, K, 2), 0 to 1, of a solid's hue within its family and of its brightness.
        texture: (N, K + 2, 3), 0 to 1, of solids, floor and walls: which part of a photograph, and how far it is moved
            right and down.
        light: (N, 3), unit vectors in the world, to the light.
        warmth: (N,), -1 (blue) to 1 (yellow).
    """

    family: NDArray[np.int64]
    shade: np.ndarray
    texture: np.ndarray
    light: np.ndarray
    warmth: np.ndarray


@dataclass(frozen=True)
class Scenes:
    """N scenes, one an image.

    Shape:
        walls: (N, 3), as `tessera.data.rays.cast` takes them.
    """

    cameras: Cameras
    solids: Solids
    walls: np.ndarray
    looks: Looks

    def part(self, rows: slice, dtype: type[np.floating] = np.float32) -> "Scenes":
        """Some of them, in this type."""
        position, turned, focal = self.cameras
        shape, *sizes = self.solids
        family, *rest = self.looks
        return Scenes(
            Cameras(position[rows].astype(dtype), turned[rows].astype(dtype), focal),
            Solids(shape[rows], *(values[rows].astype(dtype) for values in sizes)),
            self.walls[rows].astype(dtype),
            Looks(family[rows], *(values[rows].astype(dtype) for values in rest)),
        )


class _Between(Protocol):
    """Evenly drawn numbers of this shape for each sequence."""

    def __call__(self, low: float, high: float, *shape: int) -> np.ndarray: ...


class _Ways(NamedTuple):
    """Of each sequence and frame: where the camera is (S, F, 3), and the tangents of half its angles (S, F)."""

    position: np.ndarray
    yaw: np.ndarray
    pitch: np.ndarray


def draw_scenes(sequences: int, frames: int, random: np.random.Generator) -> Scenes:
    """Sequences of images, frame by frame: N is sequences * frames.

    A camera about as high as a head looks down into a room, at 2 to 5 solids that stand on its floor. None cuts another
    or a wall, and of none the middle is out of the image or behind another's: a solid for which no place is found is
    left out. Kinds are dealt out in turn, so that each is as frequent as the others. In a sequence camera and solids go
    straight on, at a steady speed.
    """

    def between(low: float, high: float, *shape: int) -> np.ndarray:
        return random.uniform(low, high, (sequences, *shape))

    time = np.arange(frames) - (frames - 1) / 2
    position = np.stack([between(-0.5, 0.5), -between(1.3, 2.1), between(-0.3, 0.3)], axis=-1)
    velocity = between(-WAY, WAY, 3) * (1, 0.3, 1)
    turn_rate = between(-0.01, 0.01)
    walls = np.stack([between(-4.2, -2.6), between(2.6, 4.2), between(5.5, 9.0)], axis=-1)
    ways = _Ways(
        position[:, None] + velocity[:, None] * time[:, None],
        between(-0.12, 0.12)[:, None] + turn_rate[:, None] * time,
        np.repeat(between(0.09, 0.19)[:, None], frames, axis=1),
    )
    shape, family = _deal(sequences, random)
    half = _sizes(shape, between(0, 1, MOST, 3))
    places = _place(half, random.integers(FEWEST, MOST + 1, sequences), ways, walls, between)
    absent = np.isnan(places[:, :, 0, 0])
    turns = between(-1, 1, MOST)[:, None] + between(-0.03, 0.03, MOST)[:, None] * time[:, None]
    towards = between(-0.7, 0.7)
    light = np.stack([towards, -np.ones(sequences), between(-0.9, -0.2)], axis=-1)
    looks = Looks(
        family,
        between(0, 1, MOST, 2),
        between(0, 1, MOST + 2, 3),
        light / np.sqrt((light * light).sum(axis=1, keepdims=True)),
        between(-1, 1),
    )

    def each(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, frames, axis=0)

    heights = np.broadcast_to(-half[:, :, None, 1], places.shape[:3])
    centre = np.stack([places[..., 0], heights, places[..., 1]], axis=-1).transpose(0, 2, 1, 3)
    return Scenes(
        Cameras(ways.position.reshape(-1, 3), rotation(ways.yaw.reshape(-1), ways.pitch.reshape(-1)), FOCAL),
        Solids(
            each(np.where(absent, NONE, shape)),
            np.nan_to_num(centre).reshape(-1, MOST, 3),
            each(half),
            np.stack(turn_by(turns), axis=-1).reshape(-1, MOST, 2),
        ),
        each(walls),
        Looks(*map(each, looks)),
    )


def _deal(sequences: int, random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Shape and family (S, K) of solids, from one shuffled deck of all kinds after another."""
    decks = -(-sequences * MOST // len(KINDS))
    order = random.permuted(np.tile(np.arange(len(KINDS)), (decks, 1)), axis=1).reshape(-1)
    # Slot by slot, since the last slots of a scene may stay empty: so each deck is spent on solids that are there.
    cards = np.array(KINDS)[order[: sequences * MOST]].reshape(MOST, sequences, 2).transpose(1, 0, 2)
    return cards[..., 0], cards[..., 1]


def _sizes(shape: NDArray[np.int64], share: np.ndarray) -> np.ndarray:
    """Half of the sides, (S, K, 3), m; of a sphere and of a cylinder's base they are alike."""
    smallest, largest = (np.array(sizes)[shape] for sizes in (SMALLEST, LARGEST))
    half: np.ndarray = smallest + share * (largest - smallest)
    half[..., 1] = np.where(shape == SPHERE, half[..., 0], half[..., 1])
    half[..., 2] = np.where(shape == BOX, half[..., 2], half[..., 0])
    return half


class _Tried(NamedTuple):
    """Places of solids, in every frame.

    Shape:
        at: (S, T, F, 2), x and z in the world, m.
        slope: (S, T, F), x over z in the camera's frame.
        depth: (S, T, F), m.
    """

    at: np.ndarray
    slope: np.ndarray
    depth: np.ndarray

    @classmethod
    def seen(cls, at: np.ndarray, ways: _Ways) -> "_Tried":
        c, s = (of[:, None] for of in turn_by(ways.yaw))
        x, z = np.moveaxis(at - ways.position[:, None, :, ::2], -1, 0)
        depth = s * x + c * z
        return cls(at, (c * x - s * z) / depth, depth)


def _place(
    half: np.ndarray, number: NDArray[np.int64], ways: _Ways, walls: np.ndarray, between: _Between
) -> np.ndarray:
    """Where the first `number` solids of each sequence stand: x and z (S, K, F, 2); NaN where one is left out."""
    sequences, frames = ways.yaw.shape
    radius = np.where(half[..., 0] == half[..., 2], half[..., 0], np.sqrt(half[..., 0] ** 2 + half[..., 2] ** 2))
    time = np.arange(frames) - (frames - 1) / 2
    begin, (c, s) = ways.position.mean(axis=1)[:, None], (of[:, None] for of in turn_by(ways.yaw.mean(axis=1)))
    places = np.full((sequences, MOST, frames, 2), np.nan)
    for k in range(MOST):
        distance, velocity = between(*DISTANCES, TRIES), between(-WAY, WAY, TRIES, 1, 2)
        aside = between(-0.5, 0.5, TRIES) * distance / FOCAL
        middle = np.stack([c * aside + s * distance, c * distance - s * aside], axis=-1) + begin[..., ::2]
        tried = _Tried.seen(middle[:, :, None] + velocity * time[:, None], ways)
        r = radius[:, k, None, None]
        x, z = tried.at[..., 0], tried.at[..., 1]
        fits = np.asarray(abs(tried.slope) < 0.5 / FOCAL) & (tried.depth > NEAREST + r)
        fits &= z + r + GAP < walls[:, 2, None, None]
        fits &= (x - r - GAP > walls[:, 0, None, None]) & (x + r + GAP < walls[:, 1, None, None])
        for other in range(k):
            there = _Tried.seen(places[:, None, other], ways)
            far = ((tried.at - there.at) ** 2).sum(axis=-1) > (r + radius[:, other, None, None] + GAP) ** 2
            beside = abs(tried.slope - there.slope) > APART * (
                r / tried.depth + radius[:, other, None, None] / there.depth
            )
            fits &= (far & beside) | np.isnan(there.slope)
        always = np.asarray(fits.all(axis=2))
        first = always.argmax(axis=1)
        found = always.any(axis=1) & (number > k)
        places[:, k] = np.where(found[:, None, None], tried.at[np.arange(sequences), first], np.nan)
    return places
