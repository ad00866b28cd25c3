"""Tasks that learn maps, through a whole training and protocol `tasks`, on images whose sides differ."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from multitask_stand_ins import SHARED, tiny_source

from label_maps import MAP_COLUMNS, label_maps
from tessera.data.store import Dataset, Split
from tessera.errors import DataError
from tessera.models.store import save_encoder, save_heads
from tessera.multitask.epochs import Pretrained
from tessera.multitask.pretrain import pretrain
from tessera.multitask.protocol import Tasks
from tessera.multitask.source import Source
from tessera.multitask.store import save_tasks
from tessera.protocols.base import Evaluation
from tessera.protocols.options import TasksOptions
from tessera.training.compute import Compute

COMPUTE = Compute(torch.device("cpu"), "float32")
DENSE: list[Any] = ["semantic_segmentation", "depth", "disparity", "normals"]
CLASS = {"name": "classification", "hidden": []}
HEIGHT, WIDTH = 16, 24


def dataset() -> Dataset:
    generator = torch.Generator().manual_seed(3)

    def split(count: int) -> Split:
        coarse = torch.rand(count, 3, 4, 4, generator=generator)
        images = (255 * F.interpolate(coarse, size=(HEIGHT, WIDTH), mode="bilinear")).to(torch.uint8)
        return Split(images, (coarse[:, 0].mean((1, 2)) > 0.5).long(), label_maps(images))

    splits = {"train": split(32), "test": split(12)}
    return Dataset(("dim", "bright"), HEIGHT, (0.5,) * 3, (0.25,) * 3, splits, MAP_COLUMNS)


DATASET = dataset()


def source_of(*tasks: Any, **settings: Any) -> Source:
    return tiny_source(tasks=list(tasks), epochs=3, iterations=40, optimizer={"learning_rate": 0.05}, **settings)


def measured(folder: Path, source: Source, data: Dataset = DATASET) -> tuple[Pretrained, Evaluation]:
    made = pretrain(source, DATASET, {}, COMPUTE, 0, None)
    save_encoder(made.encoder, source.encoder, DATASET.normalization, folder)
    save_heads(made.heads, folder, None, DATASET.classes)
    save_tasks(source, DATASET, made.sharing, folder)
    protocol = Tasks(TasksOptions())
    return made, protocol.evaluate(protocol.model(folder, COMPUTE.device), data, None, COMPUTE, 0)


@pytest.mark.parametrize("schedule", [{"name": "joint"}, SHARED, {"name": "round_robin"}])
def test_maps_and_classes_are_learned_together(tmp_path: Path, schedule: Mapping[str, Any]) -> None:
    source = source_of(*DENSE, CLASS, schedule=schedule)
    made, found = measured(tmp_path, source)
    assert [*found.metrics] == [figure.name for figure in TasksOptions().figures(source)]
    assert all(math.isfinite(value) for value in found.metrics.values() if value is not None)
    losses = [made.history[epoch]["depth.loss"] for epoch in (0, -1)]
    assert losses[1] < losses[0]


def test_figures_are_those_of_one_pass_over_plain_images(tmp_path: Path) -> None:
    made, found = measured(tmp_path, source_of(*DENSE, schedule=SHARED))
    inputs = (DATASET.test.images.float() / 255 - 0.5) / 0.25
    with torch.no_grad():
        z = made.encoder(inputs)
        predicted = {
            name: F.interpolate(head(z), size=(HEIGHT, WIDTH), mode="bilinear") for name, head in made.heads.items()
        }
    labels = DATASET.test.columns
    best, wanted = predicted["semantic_segmentation"].argmax(1), labels["segmentation"]
    assert np.array_equal(found.arrays["semantic_segmentation.predictions"], best)
    known = wanted != 255
    overlaps = [
        ((best == label) & (wanted == label)).sum() / (((best == label) & known) | (wanted == label)).sum()
        for label in range(4)
    ]
    assert found.metrics["semantic_segmentation.mean_iou"] == pytest.approx(100 * torch.stack(overlaps).mean().item())
    far = labels["depth"] > 0
    error = (predicted["depth"][:, 0] - labels["depth"])[far].abs().mean().item()
    assert found.metrics["depth.absolute_error"] == pytest.approx(error, rel=1e-5)
    cosine = F.cosine_similarity(predicted["normals"], labels["normals"].float(), dim=1)[labels["normals"].any(1)]
    assert found.metrics["normals.mean_angle"] == pytest.approx(cosine.acos().rad2deg().mean().item(), rel=1e-4)


def test_views_that_training_enlarges_and_crops_are_no_views_of_measuring(tmp_path: Path) -> None:
    tasks = [{"name": name, "scales": [1.0, 1.5], "crop": [12, 16]} for name in DENSE]
    _, found = measured(tmp_path, source_of(*tasks, schedule=SHARED))
    assert found.arrays["depth.predictions"].shape == (12, HEIGHT, WIDTH)


def test_another_kind_of_map_under_the_same_name_is_refused(tmp_path: Path) -> None:
    other = Dataset(**{**vars(DATASET), "columns": {**DATASET.columns, "depth": MAP_COLUMNS["disparity"]}})
    with pytest.raises(DataError, match="task `depth` learned maps of depth, but label column `depth` of the"):
        measured(tmp_path, source_of("depth"), other)
