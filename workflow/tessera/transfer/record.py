"""What a teacher says of views that are drawn once: computed once, for all trainings that show them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tessera.data.store import load_dataset
from tessera.data.views import to_unit
from tessera.errors import ArtifactError
from tessera.jobs import RecordTeacher
from tessera.models.store import damaged, load_encoder
from tessera.training.compute import Compute
from tessera.transfer.images import chunks
from tessera.transfer.teacher import Teacher
from tessera.transfer.train import fixed_views, labeled_rows

FEATURES = "features.safetensors"
CHUNK = 256


def record(settings: RecordTeacher, inputs: Mapping[str, Path], compute: Compute, trial: int, folder: Path) -> Tensor:
    """Writes the teacher's features of every view that students of the trial are shown.

    Args:
        inputs: Artifact folders: `dataset` (the target's) and `source`.
        folder: Where they are written.

    Shape:
        returns: (views, labelled images, C) float32, on the CPU.
    """
    from safetensors.torch import save_file

    dataset = load_dataset(inputs["dataset"], compute.device, settings.labels)
    teacher = Teacher.of(load_encoder(inputs["source"], compute.device))
    compute.place(teacher.encoder)
    fixed = fixed_views(settings, dataset, trial)
    assert fixed is not None
    rows = labeled_rows(settings, dataset, trial)
    split = dataset.train.subset(rows)
    found = []
    for number in range(fixed.number):
        start, of_view = 0, []
        for images in chunks(split.images, CHUNK):
            view = fixed.of(rows[start : start + len(images)] + number * fixed.images)
            pixels = to_unit(view.images(images)).contiguous(memory_format=torch.channels_last)
            with compute.autocast():
                of_view.append(teacher.features(pixels).cpu())
            start += len(images)
        found.append(torch.cat(of_view))
    features = torch.stack(found)
    save_file({"features": features}, folder / FEATURES)
    return features


def load_features(folder: Path, device: torch.device) -> Tensor:
    """What `record` wrote, on the device.

    Raises:
        ArtifactError: If it cannot be read.
    """
    from safetensors.torch import load_file

    try:
        return load_file(folder / FEATURES)["features"].to(device)
    except Exception as error:
        raise ArtifactError(damaged(folder / FEATURES, error)) from error
