"""What can be set of transfers of relations within a batch, or within all images. Torch-free."""

from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tessera.transfer.options.base import TransferOptions
from tessera.transfer.options.features import LAYERS, Layers, LayersOptions

SMALLEST_TRIPLE = 3


class RkdOptions(TransferOptions):
    """Relational knowledge distillation: distances and angles between a batch's embeddings (Park et al. 2019)."""

    name: Literal["rkd"] = "rkd"
    distance: float = Field(25.0, ge=0, description="Weight of the distances of pairs; the labels' has 1.")
    angle: float = Field(50.0, ge=0, description="Weight of the angles of triples: N^3 numbers for N images a batch.")

    @model_validator(mode="after")
    def _has_a_weight(self) -> Self:
        if self.distance == self.angle == 0:
            raise ValueError("distance and angle are both 0: give one a weight")
        return self

    def clashes(self, whole: Any) -> Iterator[str]:
        yield from super().clashes(whole)
        if self.angle > 0 and (batch := whole.target.batch_size) < SMALLEST_TRIPLE:
            yield (
                f"transfer `{self.name}` compares angles of three images, but target.batch_size is {batch}: "
                f"set it to {SMALLEST_TRIPLE} or more, or its `angle` to 0"
            )

    @property
    def reads_features(self) -> bool:
        return True


class SimilarityOptions(LayersOptions):
    """Similarity-preserving distillation: which images of a batch excite a layer alike (Tung & Mori 2019)."""

    name: Literal["similarity"] = "similarity"
    weight: float = Field(3000.0, gt=0, description="Weight of the mean squared difference; the labels' has 1.")
    layers: Layers = Field("last", description=LAYERS)


class CorrelationOptions(TransferOptions):
    """Correlation congruence: the kernel matrix of a batch's embeddings (Peng et al. 2019)."""

    name: Literal["correlation"] = "correlation"
    weight: float = Field(100.0, gt=0, description="Weight of the mean squared difference; the labels' has 1.")
    gamma: float = Field(0.4, gt=0, description="γ of the Gaussian kernel of unit embeddings.")
    order: int = Field(2, ge=1, le=20, description="Order of the kernel's Taylor series.")

    @property
    def reads_features(self) -> bool:
        return True


class PktOptions(TransferOptions):
    """Probabilistic knowledge transfer: whom an image would choose as its neighbour (Passalis & Tefas 2018)."""

    name: Literal["pkt"] = "pkt"
    weight: float = Field(
        30_000.0, gt=0, description="Weight of the mean over the batch's N^2 pairs; the labels' has 1."
    )

    @property
    def reads_features(self) -> bool:
        return True


class CrdOptions(TransferOptions):
    """Contrastive representation distillation: an image's two embeddings among others' (Tian et al. 2020)."""

    name: Literal["crd"] = "crd"
    weight: float = Field(0.8, gt=0, description="Weight of both contrastive losses; the labels' has 1.")
    negatives: int = Field(
        16_384,
        ge=1,
        description="Images that each one is compared with, N; at most a third of the labelled images is advised, and "
        "the job refuses more than there are: with few labels lower it.",
    )
    mode: Literal["all", "other_classes"] = Field(
        "all", description="Negatives are drawn from all labelled images, or from those of other classes."
    )
    width: int = Field(128, ge=2, description="Numbers of an embedding.")
    temperature: float = Field(0.07, gt=0, description="Temperature τ of the cosines.")
    momentum: float = Field(0.5, ge=0, lt=1, description="Part of an image's old embedding in the bank's new one.")

    @property
    def reads_features(self) -> bool:
        return True
