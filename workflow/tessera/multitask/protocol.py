"""Tasks: what is each labelled task of the source worth on held-out images?"""

import json
import logging
from pathlib import Path

import numpy as np
import torch

from tessera.data.images import in_slices
from tessera.data.labels import IN_WORDS, MAPS
from tessera.data.normalization import Normalization
from tessera.data.store import Dataset, Split
from tessera.data.thumbnails import may_draw
from tessera.errors import DataError, StudyError
from tessera.multitask.predicted_maps import map_pictures
from tessera.multitask.store import StoredTasks, load_tasks
from tessera.protocols.base import CHANCE, Evaluation, Measured, Protocol
from tessera.tasks.base import plain_view, seen_labels, shared_views
from tessera.tasks.labelled import LabelledTask
from tessera.tasks.meters.base import Meter
from tessera.training.compute import Compute

log = logging.getLogger("tessera")


class Tasks(Protocol):
    """Figures of every task of the source that learned labels, on the target's test split, one view an image.

    An image is shown once, whole, or by its centre where tasks see a part of it; the encoder runs once a batch, and
    every head answers. Figures are those of each task's options, as `<task>.<figure>`, by meters that accumulate over
    the batches. Images without a task's label count for nothing in its figures.

    Args:
        options: What the study set.

    Raises:
        DataError: If the target lacks a column that a task learned, has other classes there, or no labelled image.
        StudyError: If no task of the source learned labels.
    """

    def model(self, folder: Path, device: torch.device) -> Measured:
        stored = load_tasks(folder, device)
        return Measured(stored, stored.normalization)

    def labeled(self, dataset: Dataset, fraction: float, trial: int) -> None:
        """Nothing: the tasks have learned already, and no label of a training image is read."""

    @torch.no_grad()
    def evaluate(
        self,
        measured: Measured,
        dataset: Dataset,
        labeled: None,
        compute: Compute,
        trial: int,
        resume: Path | None = None,
    ) -> Evaluation:
        stored: StoredTasks = measured.model
        if not stored.tasks:
            raise StudyError("protocol: `tasks` measures tasks that learn labels, but the source has none")
        for name, task in stored.tasks.items():
            _check_column(name, task, dataset)
        meters = measured_by(stored, dataset.test, measured.normalization, compute)
        metrics, arrays, guessed = dict[str, float | None](), dict[str, np.ndarray](), dict[str, float]()
        for name, meter in meters.items():
            if not meter.count():
                raise DataError(
                    f"the test split has no labelled images for task `{name}`, so there is nothing to score: choose "
                    "another dataset"
                )
            found, task = meter.figures(), stored.tasks[name]
            metrics |= {f"{name}.{figure.name}": found[figure.name] for figure in task.options.figures}
            arrays |= {f"{name}.{key}": array for key, array in meter.arrays().items()}
            guessed |= {f"{name}.{figure}": value for figure, value in task.guessed().items()}
        log.info("tasks: %d images, %s", len(dataset.test), metrics)
        for name, array in arrays.items():
            if name.endswith(".predictions") and array.ndim > 1 and len(array) < len(dataset.test):
                log.info("%s: of the first %d images, more would be too large to keep", name, len(array))
        files = {CHANCE: (json.dumps(guessed, indent=1) + "\n").encode()}
        if any(task.column.kind in MAPS for task in stored.tasks.values()) and may_draw(dataset, "predicted maps"):
            files |= map_pictures(stored, dataset.test, measured.normalization, compute)
        return Evaluation(metrics, arrays, files=files)


def measured_by(stored: StoredTasks, test: Split, normalization: Normalization, compute: Compute) -> dict[str, Meter]:
    """Meters that have seen what every task answers to every image."""
    network, device = compute.place(stored.network).eval(), compute.device
    normalize = normalization.of_images(device)
    meters = {name: task.meter() for name, task in stored.tasks.items()}
    columns = {name: task.labels_of(test.to(device)) for name, task in stored.tasks.items()}
    views = shared_views(task.options for task in stored.tasks.values())
    start = 0
    # On a processor the maps of a small batch stay in its caches, which a third of the time depends on.
    for images in in_slices(test.images, 64 if device.type == "cpu" else 500):
        end, view = start + len(images), plain_view(images, views)
        with compute.autocast():
            predictions = network(normalize(view.images(images)))
        for name, task in stored.tasks.items():
            labels = {column: values[start:end] for column, values in columns[name].items()}
            seen = seen_labels(view, labels, task.statistics.columns)
            meters[name].add(predictions[name], task.wanted(seen))
        start = end
    return meters


def _check_column(name: str, task: LabelledTask, dataset: Dataset) -> None:
    column, learned = task.options.labels, task.column.classes
    if column not in dataset.columns:
        raise DataError(f"task `{name}` learned label column `{column}`, which the target's images do not have")
    if (kind := dataset.columns[column].kind) != task.column.kind:
        raise DataError(
            f"task `{name}` learned {IN_WORDS[task.column.kind]}, but label column `{column}` of the target has "
            f"{IN_WORDS[kind]}"
        )
    asked = dataset.columns[column].classes
    if len(asked) != len(learned):
        raise DataError(f"task `{name}` tells {len(learned)} classes apart, but the target has {len(asked)}")
    for label, (here, there) in enumerate(zip(learned, asked, strict=True)):
        if here != there:
            raise DataError(f"task `{name}`: class {label} is `{here}` in the source, but `{there}` in the target")
