"""Protocol `tasks`: every labelled task of a source, measured by its stored heads, against routes of its own."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import multitask_stand_ins as stand_ins
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from multitask_stand_ins import BRIGHTNESS, UNITS, tiny_dataset, tiny_source
from torch import Tensor, nn
from torch.testing import assert_close

from tessera.data.labels import Column
from tessera.data.store import Dataset, Split
from tessera.errors import ArtifactError, DataError, StudyError
from tessera.models.store import load_classifier, save_encoder, save_heads
from tessera.multitask.epochs import Pretrained
from tessera.multitask.pretrain import pretrain
from tessera.multitask.protocol import Tasks
from tessera.multitask.source import Source
from tessera.multitask.store import load_tasks, save_tasks
from tessera.multitask.task_network import TaskNetwork, head_key
from tessera.protocols.base import Evaluation
from tessera.protocols.options import TasksOptions
from tessera.tasks.classification import Classification
from tessera.tasks.options.labelled import ClassificationOptions
from tessera.training.compute import Compute

COMPUTE = Compute(torch.device("cpu"), "float32")
HALF = {"name": "classification", "labels": "half", "hidden": []}
CLASS = {"name": "classification", "hidden": [5]}
NORMED = "test_protocol_tasks:Normed"


class NormedOptions(ClassificationOptions):
    short: ClassVar[str] = "nor"
    name: str  # type: ignore[assignment]


class Normed(Classification):
    """As classification, with a batch norm in its head."""

    Options = NormedOptions

    def build_head(self, num_features: int) -> nn.Module:
        return nn.Sequential(nn.BatchNorm2d(num_features), super().build_head(num_features))


def dataset() -> Dataset:
    """Two classes, and a further column of three, some of whose labels are missing."""
    plain = tiny_dataset()

    def with_half(split: Split) -> Split:
        half = torch.arange(len(split)) % 3
        return replace(split, columns={"half": torch.where(torch.arange(len(split)) % 5 == 4, -1, half)})

    splits = {name: with_half(split) for name, split in plain.splits.items()}
    return replace(plain, splits=splits, columns={**plain.columns, "half": Column("class", ("x", "y", "z"))})


DATASET = dataset()


def stored(folder: Path, source: Source, data: Dataset = DATASET) -> Pretrained:
    """As the stage's script keeps it."""
    made = pretrain(source, data, {}, COMPUTE, 0, None)
    save_encoder(made.encoder, source.encoder, data.normalization, folder)
    supervised = [head_key(task.key) for task in source.tasks if task.column == "class"]
    save_heads(made.heads, folder, supervised[0] if supervised else None, data.classes)
    save_tasks(source, data, made.sharing, folder)
    return made


def source_of(*tasks: Any, **settings: Any) -> Source:
    return tiny_source(tasks=list(tasks), epochs=1, **settings)


def measure(folder: Path, data: Dataset = DATASET) -> Evaluation:
    protocol = Tasks(TasksOptions())
    return protocol.evaluate(protocol.model(folder, COMPUTE.device), data, None, COMPUTE, 0)


def by_hand(made: Pretrained, source: Source, name: str, labels: Tensor) -> dict[str, float]:
    """Figures of one task from its own forward pass over plain images."""
    pixels = DATASET.test.images.double() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in DATASET.normalization)
    inputs = ((pixels - mean) / std).float()
    with torch.no_grad():
        logits = made.heads[head_key(name)](
            made.sharing.features(name, made.sharing.maps(made.encoder, inputs, [name]))
        )
    known = labels >= 0
    logits, labels = logits[known], labels[known]
    best = logits.topk(min(5, logits.shape[1])).indices
    return {
        f"{name}.accuracy": 100 * (best[:, 0] == labels).double().mean().item(),
        f"{name}.top5_accuracy": 100 * (best == labels[:, None]).any(1).double().mean().item(),
        f"{name}.cross_entropy": F.cross_entropy(logits, labels).item(),
    }


SETTINGS: list[dict[str, Any]] = [
    {},
    {"encoder": UNITS, "sharing": "lasso", "schedule": "round_robin"},
    {"schedule": {"name": "joint", "inputs": "shared"}},
    {"encoder": "resnet8", "sharing": {"name": "cross_stitch", "export": "classification.half"}},
    {"encoder": "resnet8", "sharing": {"name": "mtan", "residual": True}},
    {"encoder": "resnet8", "sharing": {"name": "model_patch", "export": "classification.half"}},
    {"encoder": "resnet8", "sharing": {"name": "model_patch", "kind": "depthwise"}},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_figures_are_those_of_each_head_by_itself(tmp_path: Path, settings: Mapping[str, Any]) -> None:
    shared = "inputs" in str(settings)
    source = source_of(CLASS, *([] if shared else [BRIGHTNESS]), HALF, **settings)
    made = stored(tmp_path, source)
    found = measure(tmp_path)
    expected = by_hand(made, source, "classification", DATASET.test.labels)
    expected |= by_hand(made, source, "classification.half", DATASET.test.columns["half"])
    assert [*found.metrics] == [figure.name for figure in TasksOptions().figures(source)]
    assert found.metrics == pytest.approx(expected, rel=1e-5)
    assert len({key.rpartition(".")[0] for key in found.metrics}) == 2
    confusion = found.arrays["classification.half.confusion"]
    assert confusion.shape == (3, 3)
    assert 100 * np.trace(confusion) / confusion.sum() == pytest.approx(found.metrics["classification.half.accuracy"])
    chance = json.loads(found.files["chance.json"])
    assert chance["classification.half.accuracy"] == pytest.approx(100 / 3)


def test_the_encoder_looks_once_at_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path, source_of(CLASS, HALF))
    calls, forward = [], stand_ins.TinyEncoder.layers
    monkeypatch.setattr(
        stand_ins.TinyEncoder, "layers", lambda self, images: (calls.append(len(images)), forward(self, images))[1]
    )
    measure(tmp_path)
    assert calls == [16]


def test_a_batch_norm_of_a_supervised_head_has_statistics_of_plain_images(tmp_path: Path) -> None:
    source = source_of({"name": NORMED, "hidden": []}, BRIGHTNESS, statistics_batches=2)
    made = stored(tmp_path, source)
    norm = made.heads["normed"][0]
    untouched = pretrain(source_of(BRIGHTNESS), DATASET, {}, COMPUTE, 0, None).heads
    assert norm.num_batches_tracked == 2  # not those of the training's steps
    assert [layer.num_batches_tracked > 2 for layer in untouched.modules() if isinstance(layer, nn.BatchNorm2d)] == [
        True
    ]
    pixels = (DATASET.train.images.float() / 255 - 0.5) / 0.25
    with torch.no_grad():
        mean = made.encoder(pixels).mean((0, 2, 3))
    assert_close(norm.running_mean, mean, rtol=0.2, atol=0.1)  # of 16 of the 48 images
    assert set(measure(tmp_path).metrics) == {
        f"normed.{word}" for word in ("accuracy", "top5_accuracy", "cross_entropy")
    }


def test_what_is_stored_comes_back_to_the_bit(tmp_path: Path) -> None:
    source = source_of(HALF, CLASS, encoder=UNITS, sharing="lasso", schedule="round_robin")
    made = stored(tmp_path, source)
    back = load_tasks(tmp_path, COMPUTE.device)
    network = TaskNetwork(made.encoder, made.sharing, {name: made.heads[head_key(name)] for name in back.tasks})
    assert [*back.tasks] == ["classification.half", "classification"]
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, back.network.state_dict()[key]), key
    assert not back.network.training
    kept = load_classifier(tmp_path, COMPUTE.device)  # the head of the column `class`, wherever it stands
    assert kept is not None
    assert kept.hidden == (5,)


def test_an_artifact_of_an_older_version_says_what_to_delete(tmp_path: Path) -> None:
    stored(tmp_path, source_of(CLASS))
    (tmp_path / "tasks.json").unlink()
    with pytest.raises(ArtifactError, match=r"older version made the artifact.*Delete its folder"):
        load_tasks(tmp_path, COMPUTE.device)


@pytest.mark.parametrize("content", ["{", "[]", '{"tasks": 3}', '{"image_size": 16}'])
def test_a_damaged_file_is_told_in_one_line(tmp_path: Path, content: str) -> None:
    stored(tmp_path, source_of(CLASS))
    (tmp_path / "tasks.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"tasks\.json: not a readable network") as raised:
        load_tasks(tmp_path, COMPUTE.device)
    assert "\n" not in str(raised.value)


def test_a_target_that_lacks_what_was_learned_is_refused(tmp_path: Path) -> None:
    stored(tmp_path, source_of(HALF))
    with pytest.raises(DataError, match=r"task `classification\.half` learned label column `half`, which"):
        measure(tmp_path, tiny_dataset())
    fewer = replace(DATASET, columns={"half": Column("class", ("x", "y"))})
    with pytest.raises(DataError, match="tells 3 classes apart, but the target has 2"):
        measure(tmp_path, fewer)
    others = replace(DATASET, columns={"half": Column("class", ("x", "z", "y"))})
    with pytest.raises(DataError, match="class 1 is `y` in the source, but `z` in the target"):
        measure(tmp_path, others)
    blind = replace(DATASET.test, columns={"half": torch.full((16,), -1)})
    with pytest.raises(DataError, match=r"no labelled images for task `classification\.half`"):
        measure(tmp_path, replace(DATASET, splits={**DATASET.splits, "test": blind}))


def test_it_repeats_and_leaves_the_network_as_it_is(tmp_path: Path) -> None:
    stored(tmp_path, source_of({"name": NORMED, "hidden": []}, HALF))
    protocol = Tasks(TasksOptions())
    measured = protocol.model(tmp_path, COMPUTE.device)
    before = {key: value.clone() for key, value in measured.model.network.state_dict().items()}
    first, again = (protocol.evaluate(measured, DATASET, None, COMPUTE, trial) for trial in (0, 1))
    assert first.metrics == again.metrics
    assert all(np.array_equal(first.arrays[key], again.arrays[key]) for key in first.arrays)
    assert all(torch.equal(value, before[key]) for key, value in measured.model.network.state_dict().items())
    assert not measured.model.network.training


def test_a_source_without_labelled_tasks_is_refused(tmp_path: Path) -> None:
    stored(tmp_path, source_of(BRIGHTNESS))
    with pytest.raises(StudyError, match="the source has none"):
        measure(tmp_path)


def test_two_columns_are_two_tasks_and_one_column_learns_as_before() -> None:
    both = pretrain(source_of(CLASS, HALF, schedule="round_robin"), DATASET, {}, COMPUTE, 0, None)
    assert {"classification.loss", "classification.half.loss", "classification.half.chance_loss"} <= both.metrics.keys()
    assert [*both.heads] == ["classification", "classification:half"]
    assert both.heads["classification:half"](torch.zeros(1, 6, 2, 2)).shape == (1, 3)
