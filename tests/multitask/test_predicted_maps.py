"""Pictures of what tasks of maps predict: of which images, in which colours, and that none shows people."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from label_maps import MAP_COLUMNS, label_maps
from tessera import registry
from tessera.data.normalization import Normalization
from tessera.data.store import Dataset, Split
from tessera.multitask.predicted_maps import map_pictures
from tessera.multitask.protocol import Tasks
from tessera.multitask.store import StoredTasks
from tessera.protocols.base import Measured
from tessera.protocols.options import TasksOptions
from tessera.report.pictures.sheets import read_sheet
from tessera.tasks.base import ImageStatistics
from tessera.tasks.map_colors import class_color, class_pictures, number_pictures
from tessera.training.compute import Compute

COMPUTE = Compute(torch.device("cpu"), "float32")
PLAIN = Normalization((0.5,) * 3, (0.25,) * 3)
OUTPUTS = {"semantic_segmentation": 4, "depth": 1, "disparity": 1, "normals": 3}
NUMBER, HEIGHT, WIDTH = 9, 12, 20


class Answers(nn.Module):
    """Of each image, numbers that are made of its own pixels."""

    def __init__(self, tasks: Mapping[str, int]) -> None:
        super().__init__()
        self.tasks = tasks

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        mixed = torch.cat([inputs, -inputs[:, :1]], dim=1)
        return {name: mixed[:, :outputs] for name, outputs in self.tasks.items()}


def dataset() -> Dataset:
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(NUMBER, 3, 3, 5, generator=generator)
    images = (255 * F.interpolate(coarse, size=(HEIGHT, WIDTH), mode="bilinear")).to(torch.uint8)
    split = Split(images, torch.zeros(NUMBER, dtype=torch.int64), label_maps(images))
    return Dataset(("a",), HEIGHT, *PLAIN, {"train": split, "test": split}, MAP_COLUMNS)


DATASET = dataset()


def stored(*names: str) -> StoredTasks:
    tasks = {}
    for name in names:
        options = registry.parts("task")[name].options(name=name)
        tasks[name] = registry.load("task", name)(options, ImageStatistics.of(DATASET), {}, COMPUTE.device)
    return StoredTasks(tasks, Answers({name: OUTPUTS.get(name, 1) for name in names}), PLAIN)  # type: ignore[arg-type]


def kept(tmp_path: Path, *names: str) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]], np.ndarray]:
    """maps.json, the pictures of each task by what they show, and the images."""
    for name, content in map_pictures(stored(*names), DATASET.test, PLAIN, COMPUTE).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    about = json.loads((tmp_path / "maps/maps.json").read_text())
    found = {}
    for one in about["tasks"]:
        strips = read_sheet(tmp_path / one["file"], [view["strip"] for view in one["views"]])
        found[one["task"]] = dict(zip((view["name"] for view in one["views"]), strips, strict=True))
    return about, found, read_sheet(tmp_path / about["file"], [about["strip"]])[0]


def test_images_are_spread_over_the_test_split_and_shown_whole(tmp_path: Path) -> None:
    about, found, images = kept(tmp_path, "depth")
    assert about["images"] == [0, 2, 4, 6]
    wanted = DATASET.test.images[[0, 2, 4, 6]].permute(0, 2, 3, 1).numpy()
    assert images.shape == wanted.shape
    assert np.abs(images.astype(float) - wanted).mean() < 4  # a JPEG
    assert [*found["depth"]] == ["right", "predicted", "error"]


def test_classes_have_the_colours_of_their_legend(tmp_path: Path) -> None:
    about, found, _ = kept(tmp_path, "semantic_segmentation")
    pixels = {label: tuple(bytes.fromhex(color[1:])) for label, color in about["tasks"][0]["legend"]}
    assert list(pixels) == ["a", "b", "c", "d"]
    labels = DATASET.test.columns["segmentation"][[0, 2, 4, 6]].numpy()
    answers = Answers(OUTPUTS)((DATASET.test.images[[0, 2, 4, 6]].float() / 255 - 0.5) / 0.25)
    best = answers["semantic_segmentation"].argmax(1).numpy()
    for index, label in enumerate("abcd"):
        for view, maps in (("right", labels), ("predicted", best)):
            assert ((found["semantic_segmentation"][view] == pixels[label]).all(-1) == (maps == index)).all()
    assert (found["semantic_segmentation"]["right"][labels == 255] == 0).all()
    wrong = found["semantic_segmentation"]["error"][(best != labels) & (labels != 255)]
    fine = found["semantic_segmentation"]["error"][best == labels]
    assert len(np.unique(wrong, axis=0)) == len(np.unique(fine, axis=0)) == 1
    assert wrong[0].sum() > 2 * fine[0].sum()  # bright
    assert (found["semantic_segmentation"]["error"][labels == 255] == 0).all()


def test_colours_are_those_of_matplotlib() -> None:
    """Twenty classes by tab20, its strong colours first, and numbers by viridis, both read from matplotlib itself."""
    tab20 = (np.array(mpl.colormaps["tab20"].colors) * 255).round()  # type: ignore[attr-defined]
    wanted = np.concatenate([tab20[::2], tab20[1::2]])
    drawn = class_pictures(torch.arange(20).view(1, 4, 5))[0].flatten(1).T.numpy()
    assert np.abs(drawn - wanted).max() <= 1
    assert len(np.unique(drawn, axis=0)) == 20
    assert class_color(3) == "#d62728" == class_color(23)
    numbers = torch.linspace(2, 6, 101)
    shown = number_pictures(numbers.view(1, 1, -1), torch.ones(1, 1, 101, dtype=torch.bool), 2, 6)[0, :, 0].T.numpy()
    off = np.abs(shown - mpl.colormaps["viridis"]((numbers.numpy() - 2) / 4)[:, :3] * 255)
    assert off.max() < 20  # straight lines between nine of its colours
    assert off.mean() < 2
    beyond = number_pictures(torch.tensor([[[1.0, 7.0, float("nan")]]]), torch.tensor([[[True, True, False]]]), 2, 6)
    assert np.array_equal(beyond[0, :, 0].T[:2], shown[[0, -1]])
    assert (beyond[0, :, 0, 2] == 0).all()


def test_a_scale_is_that_of_the_labels_whatever_is_predicted(tmp_path: Path) -> None:
    """So that the rows of a study can be compared; and normals are red, green and blue by their coordinates."""
    about, found, _ = kept(tmp_path, "depth", "normals")
    depth = DATASET.test.columns["depth"][[0, 2, 4, 6]].float()
    known = depth > 0
    words = f"Dark is {depth[known].min():.2f} m, bright {depth.max():.2f} m, black without a label"
    assert about["tasks"][0]["caption"].startswith(words)
    far = number_pictures(torch.where(known, depth, 9.0), known, float(depth[known].min()), float(depth.max()))
    assert np.array_equal(found["depth"]["right"], far.permute(0, 2, 3, 1).numpy())
    normals = DATASET.test.columns["normals"][[0, 2, 4, 6]].float()
    wanted = (F.normalize(normals, dim=1) + 1) / 2 * 255 * normals.any(1, keepdim=True)
    assert np.abs(found["normals"]["right"] - wanted.permute(0, 2, 3, 1).numpy()).max() <= 1
    assert about["tasks"][1]["legend"] == []


def test_large_pictures_are_made_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tessera.multitask.predicted_maps.MOST_PX", 10)
    about, found, images = kept(tmp_path, "semantic_segmentation")
    assert images.shape == found["semantic_segmentation"]["error"].shape == (4, 6, 10, 3)
    assert about["strip"] == [4, 6, 10]


@pytest.mark.parametrize("people", [False, True])
def test_no_map_of_people_is_drawn(people: bool) -> None:
    data = replace(DATASET, shows_people=people)
    found = Tasks(TasksOptions()).evaluate(Measured(stored("depth"), PLAIN), data, None, COMPUTE, 0)
    pictures = set() if people else {"maps/maps.json", "maps/images.jpg", "maps/1.png"}
    assert set(found.files) == {"chance.json"} | pictures
    assert "depth.predictions" in found.arrays  # numbers, from which the figures can be computed again


def test_tasks_of_classes_alone_keep_no_picture() -> None:
    assert map_pictures(stored("classification"), DATASET.test, PLAIN, COMPUTE) == {}
