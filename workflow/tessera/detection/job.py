"""A job of the stage `transfer_knowledge` whose network detects: reads what it was given, and trains."""

from collections.abc import Mapping
from pathlib import Path

from tessera.data.detection import load_detection
from tessera.detection.train import train_detector
from tessera.jobs import TransferKnowledge
from tessera.models.store import load_encoder
from tessera.models.trained import Trained
from tessera.training.compute import Compute


def train(
    settings: TransferKnowledge, inputs: Mapping[str, Path], compute: Compute, trial: int, resume: Path | None
) -> Trained:
    """See `train_detector`.

    Args:
        inputs: Artifact folders: `dataset`, and `source` where the encoder's weights come from one.
    """
    source = load_encoder(inputs["source"], compute.device) if "source" in inputs else None
    return train_detector(settings, source, load_detection(inputs["dataset"]), compute, trial, resume)
