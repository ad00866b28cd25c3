"""What can be set of transfers of a distribution. Torch-free."""

from typing import ClassVar, Literal

from pydantic import Field

from tessera.data.labels import Kind
from tessera.transfer.options.base import FineTuneOptions, TransferOptions


class SoftTargetsOptions(TransferOptions):
    """Soft targets: cross-entropy with the teacher's softened distribution beside the labels' (Hinton et al. 2015)."""

    name: Literal["soft_targets"] = "soft_targets"
    teacher: Literal["probe", "clusters", "source"] = Field(
        "probe",
        description="Teacher's distribution: a probe on the target's labels, k-means clusters, or the source's own "
        "classifier, whose classes are the target's (Hinton's knowledge distillation).",
    )
    temperature: float = Field(4.0, gt=0, description="Temperature T of both distributions.")
    weight: float = Field(0.3, ge=0, le=1, description="Weight a of the soft term; the labels' has 1 - a.")
    scale_by_temperature: bool = Field(True, description="Multiply the soft term by T^2.")
    probe_epochs: int = Field(20, ge=1, description="Passes over the labelled images that train the probe, at most.")
    probe_hidden: tuple[int, ...] = Field((512, 256), description="Units of the probe's hidden layers.")
    probe_dropout: float = Field(0.5, ge=0, lt=1, description="Dropout on the probe's hidden layers.")
    probe_holdout: float = Field(0.1, gt=0, lt=0.5, description="Share of the labelled images kept for early stopping.")
    clusters: int = Field(64, ge=2, description="Number of k-means clusters for `clusters`.")

    @property
    def reads_features(self) -> bool:
        return True

    @property
    def needs_classifier(self) -> bool:
        return self.teacher == "source"

    @property
    def needs_same_classes(self) -> bool:
        return self.teacher == "source"


class LearningWithoutForgettingOptions(FineTuneOptions):
    """Learning without forgetting: fine-tuning that keeps answering as the source did (Li & Hoiem 2016)."""

    answers: ClassVar[frozenset[Kind]] = frozenset({"class"})

    name: Literal["lwf"] = "lwf"  # type: ignore[assignment]
    lr_factor: float = Field(
        1.0, ge=0, le=1, description="Learning rate of the copied layers, of the new ones'; 0 freezes."
    )
    temperature: float = Field(2.0, gt=0, description="Temperature T of both distributions.")
    weight: float = Field(1.0, ge=0, description="Weight of the old answers; the labels' has 1.")

    @property
    def reads_features(self) -> bool:
        return True

    @property
    def needs_classifier(self) -> bool:
        return True
