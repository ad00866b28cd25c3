"""Views that are drawn once, and teachers whose features of them are computed once."""

from typing import Any

import numpy as np
import pytest
import torch

from tessera.data.store import Dataset, save_dataset
from tessera.data.views import to_unit
from tessera.errors import ArtifactError
from tessera.jobs import RecordTeacher
from tessera.models.store import save_encoder
from tessera.training.compute import Compute
from tessera.transfer import record as recording
from tessera.transfer import train as trainer
from tessera.transfer.record import FEATURES, load_features, record
from tessera.transfer.seen import see
from tessera.transfer.teacher import Teacher
from tessera.transfer.train import fixed_views, labeled_rows, train_network

SOFT = {"name": "soft_targets", "teacher": "source", "weight": 0.7}


def recorded_of(settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute, trial: int) -> torch.Tensor:
    """By a loop over views and images, one at a time."""
    fixed = fixed_views(settings, dataset, trial)
    assert fixed is not None
    rows = labeled_rows(settings, dataset, trial)
    found = []
    for number in range(fixed.number):
        for row in rows:
            view = fixed.of(row[None] + number * len(dataset.train))
            pixels = to_unit(view.images(dataset.train.images[row : row + 1]))
            found.append(teacher.features(pixels)[0])
    return torch.stack(found).view(fixed.number, len(rows), -1)


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_a_recorded_teacher_teaches_as_one_that_is_asked(
    fraction: float, settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked = settings(SOFT, views="fixed 3", label_fraction=fraction)
    live = train_network(asked, teacher, dataset, compute, trial=1, resume=None)
    recorded = recorded_of(asked, dataset, teacher, compute, trial=1)
    assert recorded.shape[:2] == (3, round(60 * fraction))
    monkeypatch.setattr(Teacher, "maps", None)  # nobody asks it
    found = train_network(asked, teacher, dataset, compute, trial=1, resume=None, recorded=recorded)
    assert [row["loss"] for row in found.history] == pytest.approx([row["loss"] for row in live.history], rel=1e-4)
    shuffled = train_network(asked, teacher, dataset, compute, trial=1, resume=None, recorded=recorded.flip(0, 1))
    near, far = (abs(other.history[-1]["loss"] - live.history[-1]["loss"]) for other in (found, shuffled))
    assert near < 0.2 * far  # of other images it says another thing


def test_students_see_no_other_views_and_each_image_in_several(
    settings: Any, dataset: Dataset, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[int, set[bytes]] = {}

    def look(views: Any, labels: Any, index: Any, *rest: Any) -> Any:
        for row, pixels in zip(index.tolist(), views.pixels, strict=True):
            shown.setdefault(row, set()).add(pixels.numpy().tobytes())
        return see(views, labels, index, *rest)

    monkeypatch.setattr(trainer, "see", look)
    train_network(settings("none", views="fixed 2", epochs=6, iterations=20), None, dataset, compute, 0, None)
    assert len(shown) == len(dataset.train)
    numbers = [len(views) for views in shown.values()]
    assert max(numbers) == 2
    assert sum(numbers) > 1.5 * len(numbers)


def test_trials_have_views_of_their_own(settings: Any, dataset: Dataset) -> None:
    asked = settings("none", views="fixed 4")
    one, again, other = (fixed_views(asked, dataset, trial) for trial in (0, 0, 1))
    assert one is not None
    assert again is not None
    assert other is not None
    rows = torch.arange(4 * len(dataset.train))
    assert torch.equal(one.of(rows).down, again.of(rows).down)
    assert not torch.equal(one.of(rows).down, other.of(rows).down)
    plain = fixed_views(settings("none", views="fixed 1", augmentation="none"), dataset, 0)
    assert plain is not None
    assert torch.equal(plain.of(rows[:60]).images(dataset.train.images[:]), dataset.train.images[:])
    assert fixed_views(settings("none"), dataset, 0) is None


def test_what_is_recorded_is_what_a_loop_finds(
    settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, images, folder = tmp_path / "source", tmp_path / "dataset", tmp_path / "teacher"
    for path in (source, images, folder):
        path.mkdir()
    save_encoder(teacher.encoder, teacher.options, teacher.normalization, source)
    arrays = torch.cat([dataset.train.images[:], dataset.test.images[:]]).permute(0, 2, 3, 1).numpy()
    labels = torch.cat([dataset.train.labels, dataset.test.labels]).numpy()
    splits = {"train": np.arange(60), "test": np.arange(60, 72)}
    save_dataset(images, arrays, labels, splits, list(dataset.classes))
    monkeypatch.setattr(recording, "CHUNK", 7)
    asked = RecordTeacher(views="fixed 2", augmentation="crop_flip", label_fraction=0.5)
    features = record(asked, {"dataset": images, "source": source}, compute, 3, folder)
    torch.testing.assert_close(features, recorded_of(asked, dataset, teacher, compute, 3), rtol=1e-4, atol=1e-5)
    assert torch.equal(load_features(folder, compute.device), features)
    (folder / FEATURES).write_bytes(b"x")
    with pytest.raises(ArtifactError, match="Delete its folder; it is made again"):
        load_features(folder, compute.device)
