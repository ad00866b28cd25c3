"""Spheres, boxes and cylinders in a room, seen by a pinhole camera: ray casting in closed form, many scenes at once.

World and camera frame are alike: x to the right, y down, z forward; the floor is y = 0. Values of a pixel come from
sums, products, quotients and square roots alone, which every processor rounds alike.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Vector = tuple[Array, Array, Array]

NONE, SPHERE, BOX, CYLINDER = -1, 0, 1, 2
FLOOR, BACK, LEFT, RIGHT = -1, -2, -3, -4


class Cameras(NamedTuple):
    """A pinhole camera for each scene.

    Attributes:
        focal: Focal length, in heights of the image.

    Shape:
        position: (N, 3), m.
        rotation: (N, 3, 3), of vectors of the camera into the world.
    """

    position: Array
    rotation: Array
    focal: float


class Solids(NamedTuple):
    """Up to K solids for each scene; they must not be around the camera.

    Shape:
        shape: (N, K) int64: `SPHERE`, `BOX`, `CYLINDER` or `NONE`.
        centre: (N, K, 3), m.
        half: (N, K, 3), m, half of the sides; of a sphere and of a cylinder's base the radius.
        turn: (N, K, 2), cosine and sine of the angle about the vertical axis.
    """

    shape: NDArray[np.int64]
    centre: Array
    half: Array
    turn: Array


class Hits(NamedTuple):
    """What each pixel's ray meets first.

    Shape:
        ids: (N, H, W) int8, the number of the solid; `FLOOR`, `BACK`, `LEFT` or `RIGHT` of the room.
        depth: (N, H, W), m, along the optical axis.
        normals: (N, H, W, 3), unit vectors in the camera's frame, towards the camera.
        surface: (N, H, W, 2), m, coordinates on the surface for a texture.
        points: (N, H, W, 3), m, in the world.
    """

    ids: NDArray[np.int8]
    depth: Array
    normals: Array
    surface: Array
    points: Array


def dot(one: Sequence[Any], other: Sequence[Array]) -> Array:
    """Inner products of vectors, given coordinate by coordinate; summed in one order, whatever the processor."""
    total: Array = one[0] * other[0]
    for a, b in zip(one[1:], other[1:], strict=True):
        total = total + a * b
    return total


def turn_by(tangent: Array) -> tuple[Array, Array]:
    """Cosine and sine of an angle, of the tangent of its half: no function that processors round differently."""
    square = tangent * tangent
    return (1 - square) / (1 + square), 2 * tangent / (1 + square)


def rotation(yaw: Array, pitch: Array) -> Array:
    """(N,) tangents of half the angles to (N, 3, 3), of vectors of the camera into the world.

    Args:
        yaw: About the vertical axis, positive to the right.
        pitch: About the camera's x, positive down.
    """
    (c, s), (k, d), zero = turn_by(yaw), turn_by(pitch), np.zeros_like(yaw)
    rows = [[c, -s * d, s * k], [zero, k, d], [-s, -c * d, c * k]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def pixel_rays(focal: float, height: int, width: int, dtype: np.dtype) -> tuple[Array, Array]:
    """Where the rays of the pixels' centres meet the plane z = 1 of the camera: x (1, 1, W) and y (1, H, 1)."""
    x = (np.arange(width) + 0.5 - width / 2) / (focal * height)
    y = (np.arange(height) + 0.5 - height / 2) / (focal * height)
    return x.astype(dtype)[None, None, :], y.astype(dtype)[None, :, None]


def cast(cameras: Cameras, solids: Solids, walls: Array, height: int, width: int) -> Hits:
    """Follows a ray through the centre of each pixel, in the type of the cameras' positions.

    Args:
        walls: (N, 3), m: x of the left wall, x of the right one, z of the one at the back; the camera is between them.
    """
    dtype = cameras.position.dtype
    origin: Vector = tuple(cameras.position[:, axis, None, None] for axis in range(3))  # type: ignore[assignment]
    x, y = pixel_rays(cameras.focal, height, width, dtype)
    turned = cameras.rotation[..., None, None]
    # Not of unit length: z of the camera is 1, so that the distance along a ray is the depth.
    along: Vector = tuple(turned[:, i, 0] * x + turned[:, i, 1] * y + turned[:, i, 2] for i in range(3))  # type: ignore[assignment]
    with np.errstate(divide="ignore", invalid="ignore"):
        depth, ids = _room(origin, along, walls)
        for number in range(solids.shape.shape[1]):
            for shape in (SPHERE, BOX, CYLINDER):
                rows = np.flatnonzero(solids.shape[:, number] == shape)
                if len(rows):
                    found = _entry(shape, solids, rows, number, origin, along)
                    nearer = found < depth[rows]
                    depth[rows] = np.where(nearer, found, depth[rows])
                    ids[rows] = np.where(nearer, np.int8(number), ids[rows])
    points = np.stack([o + depth * d for o, d in zip(origin, along, strict=True)], axis=-1)
    normals, surface = _on_room(ids, points)
    _on_solids(ids, points, solids, normals, surface)
    turned = cameras.rotation[:, None, None]
    axes = [[turned[..., j, i] for j in range(3)] for i in range(3)]
    seen = np.stack([dot(axis, list(np.moveaxis(normals, -1, 0))) for axis in axes], axis=-1)
    return Hits(ids, depth, seen, surface, points)


def _room(origin: Vector, along: Vector, walls: Array) -> tuple[Array, NDArray[np.int8]]:
    planes = {
        FLOOR: (1, np.zeros_like(walls[:, 0])),
        BACK: (2, walls[:, 2]),
        LEFT: (0, walls[:, 0]),
        RIGHT: (0, walls[:, 1]),
    }
    depth = np.full(np.broadcast_shapes(*(d.shape for d in along)), np.inf, dtype=walls.dtype)
    ids = np.full(depth.shape, FLOOR, dtype=np.int8)
    for name, (axis, at) in planes.items():
        found = (at[:, None, None] - origin[axis]) / along[axis]
        nearer = (found > 0) & (found < depth)
        depth = np.where(nearer, found, depth)
        ids[nearer] = name
    return depth, ids


def _entry(shape: int, solids: Solids, rows: np.ndarray, number: int, origin: Vector, along: Vector) -> Array:
    """Where rays of these scenes enter a solid, in lengths of the ray; infinite where they pass it."""
    centre, half = solids.centre[rows, number], solids.half[rows, number, :, None, None]
    away = [o[rows] - centre[:, axis, None, None] for axis, o in enumerate(origin)]
    rays = [d[rows] for d in along]
    if shape == SPHERE:
        enters, leaves = _ball(away, rays, half[:, 0])
    else:
        turn = solids.turn[rows, number][..., None, None]
        away, rays = _into(turn, away), _into(turn, rays)
        enters, leaves = _slab(away[1], rays[1], half[:, 1])
        if shape == CYLINDER:
            others = [_ball(away[::2], rays[::2], half[:, 0])]
        else:
            others = [_slab(away[axis], rays[axis], half[:, axis]) for axis in (0, 2)]
        for other_enters, other_leaves in others:
            enters, leaves = np.maximum(enters, other_enters), np.minimum(leaves, other_leaves)
    return np.where((enters <= leaves) & (enters > 0), enters, np.inf)


def _into(turn: Array, vector: list[Array]) -> list[Array]:
    """Vectors of the world in the frame of solids that are turned about the vertical axis."""
    (c, s), (x, y, z) = (turn[:, 0], turn[:, 1]), vector
    return [c * x - s * z, y, s * x + c * z]


def _slab(away: Array, ray: Array, half: Array) -> tuple[Array, Array]:
    one, other = (-half - away) / ray, (half - away) / ray
    return np.minimum(one, other), np.maximum(one, other)


def _ball(away: list[Array], rays: list[Array], radius: Array) -> tuple[Array, Array]:
    """Of a ball in as many dimensions as there are coordinates: of two, an endless cylinder."""
    a, b, c = dot(rays, rays), dot(away, rays), dot(away, away) - radius * radius
    discriminant = b * b - a * c
    root = np.sqrt(np.maximum(discriminant, 0))
    met = discriminant > 0
    return np.where(met, (-b - root) / a, np.inf), np.where(met, (-b + root) / a, -np.inf)


def _on_room(ids: NDArray[np.int8], points: Array) -> tuple[Array, Array]:
    """Normals in the world and coordinates on the surface, as if there were no solids."""
    x, y, z = np.moveaxis(points, -1, 0)
    normals = np.zeros_like(points)
    for name, axis, sign in ((FLOOR, 1, -1), (BACK, 2, -1), (LEFT, 0, 1), (RIGHT, 0, -1)):
        normals[..., axis] += np.where(ids == name, sign, 0)
    side = (ids == LEFT) | (ids == RIGHT)
    return normals, np.stack([np.where(side, z, x), np.where(ids == FLOOR, z, y)], axis=-1)


def _on_solids(ids: NDArray[np.int8], points: Array, solids: Solids, normals: Array, surface: Array) -> None:
    """Writes normals, in the world, and coordinates on the surface where there are solids."""
    pixels = np.flatnonzero(ids >= 0)
    scene, number = pixels // (ids.shape[1] * ids.shape[2]), ids.reshape(-1)[pixels]
    every, normal, coordinates = points.reshape(-1, 3), normals.reshape(-1, 3), surface.reshape(-1, 2)
    shapes = solids.shape[scene, number]
    for shape in (SPHERE, BOX, CYLINDER):
        chosen = np.flatnonzero(shapes == shape)
        of, at = (scene[chosen], number[chosen]), pixels[chosen]
        half, turn = solids.half[of], solids.turn[of]
        away = _into(turn, list((every[at] - solids.centre[of]).T))
        (x, y, z), coordinates[at] = _FACES[shape](away, half)
        normal[at] = np.stack([turn[:, 0] * x + turn[:, 1] * z, y, turn[:, 0] * z - turn[:, 1] * x], axis=-1)


def _sphere(away: list[Array], half: Array) -> tuple[list[Array], Array]:
    """Coordinates: the stereographic map of each half, which meet at the equator without a seam."""
    radius = half[:, 0]
    from_centre = np.sqrt(dot(away, away))
    x, y, z = (value / from_centre for value in away)
    scale = 2 * radius / (1 + abs(z))
    return [x, y, z], np.stack([x * scale, y * scale], axis=-1)


def _box(away: list[Array], half: Array) -> tuple[list[Array], Array]:
    face = np.argmax(np.abs(np.stack(away, axis=-1)) / half, axis=-1)
    x, y, z = away
    normal = [np.where(face == axis, np.sign(value), 0) for axis, value in enumerate(away)]
    return normal, np.stack([np.where(face == 0, z, x), np.where(face == 1, z, y)], axis=-1)


def _cylinder(away: list[Array], half: Array) -> tuple[list[Array], Array]:
    """Coordinates of the side: its height, and twice the tangent of half the angle, in radii."""
    x, y, z = away
    radius = half[:, 0]
    from_axis = np.sqrt(x * x + z * z)
    lid = np.abs(y) * radius > from_axis * half[:, 1]
    around = np.maximum(from_axis, radius * 1e-6)
    normal = [np.where(lid, 0, x / around), np.where(lid, np.sign(y), 0), np.where(lid, 0, z / around)]
    unrolled = 2 * radius * x / (around + abs(z))
    return normal, np.stack([np.where(lid, x, unrolled), np.where(lid, z, y)], axis=-1)


_FACES = {SPHERE: _sphere, BOX: _box, CYLINDER: _cylinder}
