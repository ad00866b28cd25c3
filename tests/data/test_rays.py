"""Ray casting against finite differences, points in solids, and scenes that are mirrored or brought nearer."""

from typing import Any

import numpy as np
import pytest

from tessera.data import rays
from tessera.data.datasets.scene_layout import Scenes, draw_scenes
from tessera.data.rays import BACK, BOX, CYLINDER, FLOOR, LEFT, RIGHT, SPHERE, Cameras, Hits, Solids


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return draw_scenes(6, 1, np.random.default_rng(5)).part(slice(None), np.float64)


def cast(scenes: Scenes, height: int, width: int) -> Hits:
    return rays.cast(scenes.cameras, scenes.solids, scenes.walls, height, width)


def on_rays(scenes: Scenes, depth: np.ndarray) -> np.ndarray:
    """Points of the camera's frame, (N, H, W, 3)."""
    height, width = depth.shape[1:]
    across, down = (np.arange(side) + 0.5 - side / 2 for side in (width, height))
    x, y = np.meshgrid(across / (scenes.cameras.focal * height), down / (scenes.cameras.focal * height))
    return np.stack([x * depth, y * depth, depth], axis=-1)


def test_hand_worked_values() -> None:
    """Level cameras 1 m above the floor look at a sphere, an edge of a box that is turned by 45 degrees, a cylinder."""
    solids = Solids(
        np.array([[SPHERE], [BOX], [CYLINDER]]),
        np.array([[[0, -1, 5.0]]] * 3),
        np.array([[[1.0, 1, 1]]] * 3),
        np.array([[[1.0, 0]], [[np.sqrt(0.5)] * 2], [[1, 0]]]),
    )
    cameras = Cameras(np.array([[0, -1.0, 0]] * 3), np.array([np.eye(3)] * 3), 0.5)
    hits = rays.cast(cameras, solids, np.array([[-3.0, 4, 8]] * 3), 101, 101)
    assert np.allclose(hits.depth[:, 50, 50], [4, 5 - np.sqrt(2), 4])
    assert np.allclose(hits.normals[[0, 2], 50, 50], [0, 0, -1])
    assert np.allclose(hits.normals[1, 50, [49, 51]], np.sqrt(0.5) * np.array([[-1, 0, -1], [1, 0, -1]]))
    # The ray of the bottom row goes down 100 / 101 for each metre; those of the outer columns as much to the sides.
    assert np.allclose(hits.depth[:, 100, 50], 1.01)
    assert np.allclose(hits.normals[:, 100, 50], [0, -1, 0])
    assert (hits.ids[:, 100, 50] == FLOOR).all()
    assert np.allclose(hits.depth[:, 50, [0, 100]], [3.03, 4.04])
    assert np.allclose(hits.normals[:, 50, [0, 100]], [[1, 0, 0], [-1, 0, 0]])
    assert (hits.ids[:, 50, [0, 100]] == [LEFT, RIGHT]).all()
    assert np.allclose(hits.depth[:, 20, 50], 8)
    assert (hits.ids[:, 20, 50] == BACK).all()


def test_normals_are_those_of_the_depth(scenes: Scenes) -> None:
    """By finite differences, within a face and not at its rim: 1 degree."""
    hits = cast(scenes, 240, 240)
    points = on_rays(scenes, hits.depth)
    right, down = (np.roll(points, -1, axis) - np.roll(points, 1, axis) for axis in (2, 1))
    found = np.cross(down, right)
    found /= np.linalg.norm(found, axis=-1, keepdims=True)
    inside = np.zeros(hits.ids.shape, dtype=bool)
    inside[:, 1:-1, 1:-1] = True
    for axis in (1, 2):
        for step in (-1, 1):
            inside &= np.roll(hits.ids, step, axis) == hits.ids
            inside &= (np.roll(hits.normals, step, axis) * hits.normals).sum(axis=-1) > np.cos(np.radians(15))
    to_camera = -points / np.linalg.norm(points, axis=-1, keepdims=True)
    facing = (hits.normals * to_camera).sum(axis=-1)
    assert facing.min() > 0  # towards the camera, all of them
    assert np.allclose(np.linalg.norm(hits.normals, axis=-1), 1)
    chosen = inside & (facing > 0.5)  # on a curved face the step between pixels grows as it turns away
    angle = np.degrees(np.arccos((found * hits.normals).sum(axis=-1).clip(-1, 1)))
    shapes = np.take_along_axis(scenes.solids.shape, hits.ids.reshape(6, -1).clip(0).astype(np.int64), axis=1)
    for shape in (SPHERE, BOX, CYLINDER):
        assert (chosen & (hits.ids >= 0) & (shapes.reshape(hits.ids.shape) == shape)).sum() > 1000
    assert angle[chosen].max() < 1
    assert angle[inside & (hits.ids < 0)].max() < 1e-3
    assert chosen.mean() > 0.6


def test_what_is_seen_is_the_first_solid_that_a_step_along_the_ray_is_in(scenes: Scenes) -> None:
    hits = cast(scenes, 16, 16)
    step, steps = 0.008, 1250  # to 10 m
    directions = on_rays(scenes, np.ones(hits.depth.shape))
    first = np.full(hits.ids.shape, steps)
    ids = np.full(hits.ids.shape, 99)
    for scene in range(len(first)):
        position, turned = scenes.cameras.position[scene], scenes.cameras.rotation[scene]
        world = directions[scene] @ turned.T
        at = position + step * np.arange(steps)[:, None, None, None] * world
        left, right, back = scenes.walls[scene]
        inside = [
            (FLOOR, at[..., 1] > 0), (BACK, at[..., 2] > back), (LEFT, at[..., 0] < left), (RIGHT, at[..., 0] > right),
        ]  # fmt: skip
        inside += [(k, within(scenes.solids, scene, k, at)) for k in range(scenes.solids.shape.shape[1])]
        for number, there in inside:
            met = np.where(there.any(axis=0), there.argmax(axis=0), steps)
            ids[scene] = np.where(met < first[scene], number, ids[scene])
            first[scene] = np.minimum(first[scene], met)
    grazed = hits.ids != ids  # a ray may be in a solid for less than a step
    assert grazed.mean() < 0.02
    late = first * step - hits.depth
    assert late[~grazed].min() > -1e-9
    assert late[~grazed].max() < step + 1e-9
    assert set(np.unique(hits.ids)) >= {FLOOR, BACK, 0, 1, 2}


def within(solids: Solids, scene: int, number: int, at: np.ndarray) -> Any:
    cosine, sine = solids.turn[scene, number]
    half, shape = solids.half[scene, number], solids.shape[scene, number]
    local = (at - solids.centre[scene, number]) @ np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    x, y, z = np.moveaxis(local / half, -1, 0)
    if shape == SPHERE:
        return x**2 + y**2 + z**2 <= 1
    if shape == CYLINDER:
        return (x**2 + z**2 <= 1) & (abs(y) <= 1)
    return (abs(local) <= half).all(axis=-1) & (shape == BOX)


def test_a_mirrored_scene_has_mirrored_maps(scenes: Scenes) -> None:
    hits = cast(scenes, 40, 52)
    mirror = np.array([-1.0, 1, 1])
    (position, turned, focal), (shape, centre, half, turn) = scenes.cameras, scenes.solids
    cameras = Cameras(position * mirror, turned * mirror[:, None] * mirror, focal)
    solids = Solids(shape, centre * mirror, half, turn * [1, -1])
    other = rays.cast(cameras, solids, scenes.walls[:, [1, 0, 2]] * [-1, -1, 1], 40, 52)
    ids = np.select([hits.ids == LEFT, hits.ids == RIGHT], [RIGHT, LEFT], hits.ids)
    assert np.array_equal(other.ids[:, :, ::-1], ids)
    assert np.allclose(other.depth[:, :, ::-1], hits.depth)
    assert np.allclose(other.normals[:, :, ::-1], hits.normals * mirror)


def test_a_scene_of_half_the_size_and_distance_has_half_the_depth(scenes: Scenes) -> None:
    hits = cast(scenes, 40, 40)
    cameras = scenes.cameras._replace(position=scenes.cameras.position / 2)
    solids = scenes.solids._replace(centre=scenes.solids.centre / 2, half=scenes.solids.half / 2)
    other = rays.cast(cameras, solids, scenes.walls / 2, 40, 40)
    assert np.array_equal(other.ids, hits.ids)
    assert np.allclose(other.depth, hits.depth / 2)
    assert np.allclose(other.normals, hits.normals)


def test_a_longer_focal_length_shows_the_middle(scenes: Scenes) -> None:
    hits = cast(scenes, 80, 80)
    other = cast(Scenes(scenes.cameras._replace(focal=2.0), *list(vars(scenes).values())[1:]), 40, 40)
    assert np.array_equal(other.ids, hits.ids[:, 20:60, 20:60])
    assert np.allclose(other.depth, hits.depth[:, 20:60, 20:60])
