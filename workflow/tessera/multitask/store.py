"""The tasks of a pretraining on disk: what rebuilds its labelled tasks as JSON, beside the weights they answer with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tessera import registry
from tessera.data.labels import Column
from tessera.data.normalization import Normalization
from tessera.data.store import Dataset
from tessera.errors import ArtifactError
from tessera.models.store import (
    HEADS,
    UNFIT,
    StoredEncoder,
    damaged,
    load_encoder,
    load_weights,
    save_encoder,
    save_heads,
    save_weights,
)
from tessera.multitask.sharing.base import Sharing
from tessera.multitask.source import Source
from tessera.multitask.task_network import TaskNetwork, head_key
from tessera.tasks.base import ImageStatistics
from tessera.tasks.labelled import LabelledTask

TASKS, SHARING = "tasks.json", "sharing.safetensors"
CLASSIFIER = "classifier"  # the head of an encoder from a file


@dataclass(frozen=True)
class StoredTasks:
    """The labelled tasks of a source, as they were trained.

    Attributes:
        tasks: By what they are called (`TaskOptions.key`), in the study's order.
        network: Answers all of them; on the device, in eval mode.
        normalization: Of the images that it was trained with.
    """

    tasks: Mapping[str, LabelledTask]
    network: TaskNetwork
    normalization: Normalization


def save_trained(
    source: Source,
    dataset: Dataset,
    encoder: nn.Module,
    heads: nn.ModuleDict,
    sharing: nn.Module,
    folder: Path,
    normalization: Normalization | None = None,
) -> None:
    """Writes all that is handed on: what `save_encoder`, `save_heads` and `save_tasks` write.

    Args:
        dataset: The source's.
        heads: By `head_key`; of an encoder from a file `CLASSIFIER`, if it has one.
        normalization: Of the images that the encoder was trained with; None: of the dataset.

    Raises:
        DivergedError: If a weight or a buffer is not finite.
    """
    save_encoder(encoder, source.encoder, normalization or dataset.normalization, folder)
    supervised = [head_key(task.key) for task in source.tasks if task.column == "class"]
    supervised += [name for name in heads if name == CLASSIFIER]
    save_heads(heads, folder, supervised[0] if supervised else None, dataset.classes)
    save_tasks(source, dataset, sharing, folder)


def save_tasks(source: Source, dataset: Dataset, sharing: nn.Module, folder: Path) -> None:
    """Writes `tasks.json` and, where the tasks share by trained weights, `sharing.safetensors`.

    Raises:
        DivergedError: If a weight or a buffer is not finite.
    """
    about = {
        "image_size": dataset.image_size,
        "sharing": source.sharing.model_dump(mode="json"),
        "tasks": [task.at(dataset.image_size).model_dump(mode="json") for task in source.tasks],
        "columns": {
            task.column: dataset.columns[task.column]._asdict() for task in source.tasks if task.column is not None
        },
    }
    if state := sharing.state_dict():
        save_weights(state, {}, folder / SHARING)
    (folder / TASKS).write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load_tasks(folder: Path, device: torch.device) -> StoredTasks:
    """Reads what `save_tasks`, `save_encoder` and `save_heads` wrote.

    Raises:
        ArtifactError: If a file is missing, damaged, or of a version that did not say what its tasks were.
    """
    if not (folder / TASKS).exists():
        raise ArtifactError(
            f"{folder / TASKS}: is not there, so nobody knows what the heads answer (an older version made the "
            "artifact). Delete its folder; it is made again."
        )
    stored = load_encoder(folder, device)
    weights, _ = load_weights(folder / HEADS)
    try:
        about = json.loads((folder / TASKS).read_text(encoding="utf-8"))
        columns = {name: Column(of["kind"], tuple(of["classes"])) for name, of in about["columns"].items()}
        statistics = ImageStatistics(int(about["image_size"]), *stored.normalization, columns)
        options = [_options("task", content) for content in about["tasks"]]
        sharing = _sharing(_options("sharing", about["sharing"]), stored, [part.key for part in options], folder)
        tasks, heads = dict[str, LabelledTask](), dict[str, nn.Module]()
        for part in options:
            if part.column is None:
                continue
            task: LabelledTask = registry.load("task", part.name)(part, statistics, {}, device)
            head, prefix = task.build_head(stored.encoder.num_features), f"{head_key(part.key)}."
            head.load_state_dict(
                {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
            )
            tasks[part.key], heads[part.key] = task, head
    except (*UNFIT, OSError) as error:
        raise damaged(folder / TASKS, error) from error
    network = TaskNetwork(stored.encoder, sharing, heads)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return StoredTasks(tasks, network.eval(), stored.normalization)


def _sharing(options: Any, stored: StoredEncoder, tasks: list[str], folder: Path) -> Sharing:
    build = partial(registry.load("encoder", stored.options.name), stored.options)
    sharing: Sharing = registry.load("sharing", options.name)(options, stored.encoder, tasks, build)
    if sharing.state_dict():
        state, _ = load_weights(folder / SHARING)
        sharing.load_state_dict(state)
    return sharing


def _options(family: str, content: dict[str, Any]) -> Any:
    return registry.find(family, content["name"]).options.model_validate(content)
