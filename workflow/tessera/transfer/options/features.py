"""What can be set of transfers of feature maps. Torch-free."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from tessera.errors import brief
from tessera.transfer.options.base import TransferOptions

Chosen = Literal["stages", "middle", "last"]


def _layers(value: Any) -> Any:
    """Refuses in one line what would be wrong as a word, and as a list too."""
    named = isinstance(value, list | tuple) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(name, str) for name in pair)
        for pair in value
    )
    if value not in get_args(Chosen) and not (named and value):
        raise ValueError(f"is {brief(value)}: give `stages`, `middle` or `last`, or pairs [[student's, teacher's], …]")
    return value


Layers = Annotated[Chosen | tuple[tuple[str, str], ...], BeforeValidator(_layers)]
LAYERS = (
    "Layers that are compared: `stages` (the ends of all stages, matched from the last one backwards), the `middle` or "
    "the `last` of these, or pairs [[student's, teacher's], …]."
)


class LayersOptions(TransferOptions):
    """Transfers that compare maps of chosen layers."""

    layers: Layers = Field("stages", description=LAYERS)

    @property
    def named_layers(self) -> tuple[tuple[str, str], ...]:
        return () if isinstance(self.layers, str) else self.layers


class FspOptions(TransferOptions):
    """Flow of solution procedure: Gram matrices across layers (Yim et al. 2017)."""

    name: Literal["fsp"] = "fsp"
    mode: Literal["two_stage", "joint"] = Field(
        "two_stage",
        description="First the Gram matrices, then the labels; or both in one stage: CE + joint_weight * L_FSP.",
    )
    pairs: Literal["across_stage", "within_stage"] = Field(
        "across_stage", description="Outputs of neighbouring stages, or first and last layer of each stage."
    )
    align: Literal["common", "channel_group", "student_conv1x1"] = Field(
        "common", description="How maps of unequal width are made comparable (docs/methods.md 4.2)."
    )
    width: int = Field(64, ge=1, description="Largest common width; `student_conv1x1` keeps the teacher's own.")
    weight: float = Field(1.0, gt=0, description="Weight of the loss in the first stage.")
    joint_weight: float = Field(50.0, gt=0, description="Weight of the loss beside the labels', for mode `joint`.")
    calibration_images: int = Field(2_000, ge=2, description="Target images that set the teacher's axes and scale.")
    images: Literal["all", "labeled"] = Field(
        "all", description="First stage and calibration: every target training image, or only the labelled ones."
    )

    @property
    def two_stage(self) -> bool:
        return self.mode == "two_stage"


class CetlOptions(TransferOptions):
    """Coupled end-to-end transfer learning: source and student share a decoder (a stand-in for Chen et al. 2018)."""

    name: Literal["cetl"] = "cetl"
    weight: float = Field(1.0, ge=0, description="Weight of the three coupled terms together; the labels' has 1.")
    refresh: Literal["epoch", "start"] = Field(
        "epoch", description="When the terms' Fisher weights are estimated: before every epoch, or before the first."
    )
    fisher_batches: int = Field(4, ge=1, description="Batches of 64 images that the Fisher weights are estimated on.")
    width: int = Field(64, ge=8, description="Channels of the aligned maps, the decoder's input.")
    image_px: int = Field(64, ge=8, description="Images are rebuilt at no more than this height and width, px.")


class AttentionOptions(LayersOptions):
    """Attention transfer: where the networks look, whatever they see there (Zagoruyko & Komodakis 2017)."""

    name: Literal["attention"] = "attention"
    weight: float = Field(
        1000.0,
        gt=0,
        description="The paper's β: half of it multiplies the mean over positions. Public code has no half.",
    )
    power: float = Field(2.0, ge=1, description="Exponent p of the activations, which are summed over channels.")
    layers: Layers = Field("stages", description=LAYERS)


class NstOptions(LayersOptions):
    """Neuron selectivity transfer: the distributions of what channels respond to (Huang & Wang 2017)."""

    name: Literal["nst"] = "nst"
    weight: float = Field(
        50.0, gt=0, description="Weight of the squared maximum mean discrepancies; the labels' has 1."
    )
    layers: Layers = Field("stages", description=LAYERS)


class FitNetOptions(LayersOptions):
    """FitNets: a hint of the teacher's for one layer of the student's (Romero et al. 2015)."""

    name: Literal["fitnet"] = "fitnet"
    mode: Literal["joint", "two_stage"] = Field(
        "joint",
        description="Hint and labels in one stage: CE + weight * hint; or the hint alone first, then the labels.",
    )
    weight: float = Field(100.0, gt=0, description="Weight of the hint beside the labels', for mode `joint`.")
    layers: Layers = Field("middle", description=LAYERS)

    @property
    def two_stage(self) -> bool:
        return self.mode == "two_stage"


class VidOptions(LayersOptions):
    """Variational information distillation: the student's maps tell of the teacher's (Ahn et al. 2019)."""

    name: Literal["vid"] = "vid"
    places: Literal["intermediate", "penultimate", "both"] = Field(
        "intermediate",
        description="The maps of `layers` (VID-I), the embeddings before the last layer (VID-LP), or both.",
    )
    weight: float = Field(1.0, gt=0, description="Weight of the negative log-likelihoods; the labels' has 1.")
    layers: Layers = Field("stages", description=f"For `intermediate` and `both`. {LAYERS}")

    @property
    def reads_features(self) -> bool:
        return self.places == "penultimate"


class JacobianOptions(LayersOptions):
    """Jacobian matching: how an answer would change with the pixels (Srinivas & Fleuret 2018)."""

    name: Literal["jacobian"] = "jacobian"
    of: Literal["attention", "logit"] = Field(
        "attention",
        description="Whose gradient: the largest entry of each attention map, or the right class's logit, for which "
        "the source's own classifier must have the target's classes.",
    )
    weight: float = Field(
        1.0, gt=0, description="Weight of the squared distance, a sum over pixels; the labels' has 1."
    )
    layers: Layers = Field("last", description=f"For `attention`. {LAYERS}")

    @property
    def differentiates_input(self) -> bool:
        return True

    @property
    def needs_classifier(self) -> bool:
        return self.of == "logit"

    @property
    def needs_same_classes(self) -> bool:
        return self.of == "logit"
