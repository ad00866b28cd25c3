"""The embedded scenes: what is in them, what train and test share, and how their labels go together."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tessera.data.datasets import rendered_scenes
from tessera.data.datasets.base import RawDataset
from tessera.data.datasets.options.rendered import RenderedScenesOptions
from tessera.data.datasets.rendered_scenes import RenderedScenes
from tessera.data.datasets.scene_layout import MOST, WAY, draw_scenes
from tessera.data.datasets.scene_painting import TEXELS, Textures
from tessera.data.prepare import prepare_dataset
from tessera.data.rays import BOX, NONE
from tessera.data.store import load_dataset

SMALL = {"image_size": 32, "num_train": 48, "num_test": 24}


def read(**options: object) -> RawDataset:
    return RenderedScenes(RenderedScenesOptions.model_validate({**SMALL, **options})).read(Path("nowhere"))


@pytest.fixture(scope="module")
def raw() -> RawDataset:
    return read()


def test_images_and_labels_fit_what_the_options_say(raw: RawDataset, tmp_path: Path) -> None:
    options = RenderedScenesOptions.model_validate({**SMALL, "columns": {"parts": "shapes"}})
    figures = prepare_dataset(options, Path("nowhere"), tmp_path)
    assert (figures["num_train"], figures["num_test"], figures["image_size"]) == (48, 24, 32)
    dataset = load_dataset(tmp_path, torch.device("cpu"))
    assert {name: column.kind for name, column in dataset.columns.items()} == options.label_columns()
    assert len(dataset.columns["segmentation"].classes) == 13
    assert torch.equal(dataset.train.columns["parts"], dataset.train.columns["shapes"])
    assert dataset.train.columns["normals"].shape == (48, 3, 32, 32)
    images = dataset.test.images[torch.arange(24)]
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), raw.images[48:])


def test_every_class_is_in_both_splits() -> None:
    """Even of the fewest images, since kinds are dealt out in turn."""
    raw = read(num_train=12, num_test=12)
    for rows in raw.splits.values():
        for name in ("segmentation", "shapes", "foreground"):
            column = raw.columns[name]
            assert np.unique(column.labels[rows]).tolist() == list(range(len(column.classes)))
    assert set(raw.columns["number"].labels) <= set(range(5))


def test_labels_of_a_pixel_agree(raw: RawDataset) -> None:
    columns = {name: column.labels for name, column in raw.columns.items()}
    classes = raw.columns["segmentation"].classes
    shape = [0, *(("sphere", "box", "cylinder").index(name.split("_")[1]) + 1 for name in classes[1:])]
    assert np.array_equal(np.array(shape)[columns["segmentation"]], columns["shapes"])
    assert np.array_equal(columns["shapes"] > 0, columns["foreground"] == 1)
    assert np.array_equal(columns["instances"] > 0, columns["foreground"] == 1)
    for ids, kinds, number, largest in zip(
        *(columns[name] for name in ("instances", "segmentation", "number", "largest")), strict=True
    ):
        found, areas = np.unique(ids[ids > 0], return_counts=True)
        assert number == len(found) - 1
        assert all(len(np.unique(kinds[ids == one])) == 1 for one in found)
        assert largest in [shape[kinds[ids == one][0]] - 1 for one in found[areas == areas.max()]]


def test_disparity_is_the_shift_to_a_second_camera(raw: RawDataset) -> None:
    """A camera 0.2 m further to the right sees a point at depth z 0.2 f / z px further to the left; f is 32 px here."""
    depth, disparity = (raw.columns[name].labels.astype(np.float64) for name in ("depth", "disparity"))
    assert np.allclose(disparity * depth, 0.2 * 32, rtol=1e-3)
    assert 1 < depth.min() < 3
    assert 5 < depth.max() < 12
    normals = raw.columns["normals"].labels.astype(np.float64)
    assert np.allclose(np.linalg.norm(normals, axis=-1), 1, atol=2e-3)


def test_a_seed_repeats(raw: RawDataset) -> None:
    again, other = read(), read(seed=1)
    assert np.array_equal(again.images, raw.images)
    assert all(np.array_equal(again.columns[name].labels, raw.columns[name].labels) for name in raw.columns)
    assert not np.array_equal(other.images, raw.images)
    assert not np.array_equal(raw.images[:24], raw.images[48:])  # the splits are drawn apart


def test_images_of_another_size_show_the_same_scenes(raw: RawDataset) -> None:
    other = read(image_size=64)
    small = raw.images.astype(np.float64)
    reduced = other.images.reshape(-1, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    assert abs(reduced - small).mean() < 6
    assert abs(small - np.roll(small, 1, axis=0)).mean() > 25
    # A pixel's centre lies between those of the four pixels that it is made of.
    depth = other.columns["depth"].labels.astype(np.float64).reshape(-1, 32, 2, 32, 2)
    inside = (depth.max(axis=(2, 4)) - depth.min(axis=(2, 4))) < 0.1
    off = abs(depth.mean(axis=(2, 4)) - raw.columns["depth"].labels)[inside]
    assert np.quantile(off, 0.999) < 0.1


def test_train_and_test_see_other_parts_of_the_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen through tiles that are green for training and blue for testing: rooms show their textures' own colours."""
    green, blue = (np.zeros((150, 160, 3), dtype=np.float32) for _ in range(2))
    green[..., 1] = blue[..., 2] = 250
    monkeypatch.setattr(rendered_scenes, "tiles", lambda: ([green], [blue]))
    raw = read(num_train=12, num_test=12)
    room = raw.columns["foreground"].labels == 0
    for rows, channel in ((raw.splits["train"], 1), (raw.splits["test"], 2)):
        colors = raw.images[rows][room[rows]]
        assert (colors.argmax(axis=-1) == channel).mean() > 0.99


def test_a_sequence_moves_steadily_and_its_splits_share_none() -> None:
    raw = read(frames=6)
    sequence, frame = raw.columns["sequence"].labels, raw.columns["frame"].labels
    assert np.array_equal(frame, np.tile(np.arange(6), 12))
    assert np.array_equal(sequence, np.arange(12).repeat(6))
    assert not set(sequence[raw.splits["train"]]) & set(sequence[raw.splits["test"]])
    images = raw.images.astype(np.float64)
    steps = abs(images[1:] - images[:-1]).mean(axis=(1, 2, 3))
    same = sequence[1:] == sequence[:-1]
    assert steps[same].mean() < 0.4 * steps[~same].mean()
    assert steps[same].min() > 0
    kinds, ids = raw.columns["segmentation"].labels, raw.columns["instances"].labels
    for one in range(12):  # a number stays with its solid
        for number in range(1, MOST + 1):
            chosen = (sequence == one)[:, None, None] & (ids == number)
            assert len(np.unique(kinds[chosen])) <= 1


def test_solids_stand_apart_on_the_floor_and_in_view() -> None:
    """Of neighbouring frames, so that none ever runs into another."""
    frames = 8
    scenes = draw_scenes(60, frames, np.random.default_rng(2))
    shape, centre, half, _ = scenes.solids
    there = shape != NONE
    assert np.allclose(centre[there][:, 1] + half[there][:, 1], 0)
    radius = np.where(shape == BOX, np.hypot(half[..., 0], half[..., 2]), half[..., 0])
    for k in range(MOST):
        both = there[:, k] & there[:, (k + 1) % MOST]
        away = np.linalg.norm(centre[both, k][:, ::2] - centre[both, (k + 1) % MOST][:, ::2], axis=1)
        assert (away > radius[both, k] + radius[both, (k + 1) % MOST]).all()
    left, right, back = (wall[:, None] for wall in scenes.walls.T)
    assert (there <= (centre[..., 0] - radius > left)).all()
    assert (there <= (centre[..., 0] + radius < right)).all()
    assert (there <= (centre[..., 2] + radius < back)).all()
    to = np.einsum("nji,nkj->nki", scenes.cameras.rotation, centre - scenes.cameras.position[:, None])
    assert (
        abs(to[there][:, 0]) < 0.5 * to[there][:, 2] * 1.35
    ).all()  # looking down turns the sides of the view inwards
    moved = np.diff(centre.reshape(60, frames, MOST, 3), axis=1)
    assert abs(moved).max() <= WAY
    assert np.allclose(np.diff(moved, axis=1), 0)
    assert (there.sum(axis=1) >= 1).all()


def test_textures_are_read_between_their_texels_and_go_on_mirrored() -> None:
    ramp = np.repeat(np.arange(TEXELS, dtype=np.float32)[None, :, None], TEXELS, axis=0) * np.ones(3, dtype=np.float32)
    textures = Textures([ramp, ramp[:, ::-1]])
    assert textures.number == 4
    at = np.array([[10.5, 64], [11, 64], [TEXELS + 117.5, 64], [2 * TEXELS + 10.5, 64], [10.5, 64]]) / TEXELS
    which, texels = np.array([0, 0, 0, 0, 2]), np.ones(5)
    assert np.allclose(textures.look_up(which, at, texels)[:, 0] * 255, [10, 10.5, 10, 10, 117], atol=1e-3)
    # From 1.4 texels a pixel on, means of 2 x 2: of 10 and 11, say.
    assert np.allclose(textures.look_up(which[:1], at[:1] + 0.5 / TEXELS, texels[:1] * 2)[0, 0] * 255, 10.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_train": 50, "frames": 8}, "num_train must be a multiple of frames, but 50 is none of 8: 48 or 56 "),
        ({"num_test": 13, "frames": 8}, "num_test must be a multiple of frames, but 13 is none of 8: 16 would do"),
        ({"columns": {"seen": "depths"}}, "columns: there is no label column `depths`. Did you mean 'depth'?"),
        ({"columns": {"seen": "frame"}}, "columns: there is no label column `frame`. Only where frames is 2 or more"),
        ({"columns": {"depth": "shapes"}}, "columns: `depth` is a label column already: choose another name"),
        ({"columns": {"a b": "shapes"}}, "should match pattern"),
        ({"columns": {}}, "at least 1 item"),
        ({"image_size": 512}, "less than or equal to 256"),
        ({"num_test": 3}, "greater than or equal to 12"),
    ],
)  # fmt: skip
def test_senseless_options_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RenderedScenesOptions.model_validate({**SMALL, **changes})


def test_columns_are_those_of_the_options() -> None:
    one, several = RenderedScenesOptions(), RenderedScenesOptions(frames=2, columns={"time": "frame"})
    assert set(several.label_columns()) - set(one.label_columns()) == {"sequence", "frame", "time"}
    assert "class" not in one.label_columns()
