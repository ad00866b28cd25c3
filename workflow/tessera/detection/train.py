"""Trains a detector, resumable after every epoch, on one device or on several."""

from pathlib import Path

from tessera.data.detection import DetectionDataset
from tessera.models.store import StoredEncoder
from tessera.study.jobs import TransferKnowledge
from tessera.training import Compute, Trained


def train_detector(
    settings: TransferKnowledge,
    source: StoredEncoder | None,
    dataset: DetectionDataset,
    compute: Compute,
    trial: int,
    resume: Path | None,
) -> Trained:
    """Trains a detector."""
    raise NotImplementedError
