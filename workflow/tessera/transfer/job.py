"""A job of the stage `transfer_knowledge` whose network classifies: reads what it was given, and trains."""

from collections.abc import Mapping
from pathlib import Path

from tessera.data.store import load_dataset
from tessera.jobs import TransferKnowledge
from tessera.models.store import load_classifier, load_encoder
from tessera.models.trained import Trained
from tessera.training.compute import Compute
from tessera.transfer.record import load_features
from tessera.transfer.teacher import Teacher
from tessera.transfer.train import train_network


def train(
    settings: TransferKnowledge, inputs: Mapping[str, Path], compute: Compute, trial: int, resume: Path | None
) -> Trained:
    """See `train_network`.

    Args:
        inputs: Folders that are read: `dataset`; `source` where the method reads one, or that of a snapshot of it;
            `teacher` where its features of the views were recorded.
    """
    teacher = None
    if (source := inputs.get("source")) is not None:
        classifier = load_classifier(source, compute.device) if settings.transfer.needs_classifier else None
        teacher = Teacher.of(load_encoder(source, compute.device), classifier)
    dataset = load_dataset(inputs["dataset"], compute.device, settings.labels)
    recorded = None
    if (folder := inputs.get("teacher")) is not None:
        recorded = load_features(folder, compute.device)
    return train_network(settings, teacher, dataset, compute, trial, resume, recorded)
