"""What can be set of the way knowledge reaches the target network."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tessera.data.labels import DOES, Kind
from tessera.errors import brief
from tessera.models.networks.options import NetworkOptions, OnEncoderOptions
from tessera.parts import PartOf
from tessera.registry import Options, choices


class TransferOptions(Options):
    """What the plan asks of every transfer method.

    Attributes:
        needs_source: False where the method reads no source encoder.
        needs_classifier: True where it reads the source's own classifier, so the source must learn its labels.
        trains: False where the network is measured as the source left it, without an epoch.
        answers: Kinds of labels that networks which the method can train predict.
    """

    needs_source: ClassVar[bool] = True
    needs_classifier: ClassVar[bool] = False
    trains: ClassVar[bool] = True
    answers: ClassVar[frozenset[Kind]] = frozenset({"class"})

    def clashes(self, whole: Any) -> Iterator[str]:
        source, network = whole.source, whole.target.network
        if self.needs_classifier and not any(task.column == "class" for task in source.tasks):
            yield (
                f"transfer `{self.name}` measures the source's own classifier, but no task of the source learns class "
                "labels: use method `supervised`"
            )
        if self.needs_classifier and whole.target.labels is not None:
            yield (
                f"transfer `{self.name}` measures the source's own classifier of `class`, but target.labels is "
                f"`{brief(whole.target.labels)}`: leave that out, or use protocol `tasks`"
            )
        if self.needs_classifier and not source.sharing.heads_read_z:
            yield (
                f"transfer `{self.name}` measures a classifier that reads the encoder's last map, which it does not "
                f"under sharing `{source.sharing.name}`: use `hard`"
            )
        if network.answers not in self.answers:
            able = choices("transfer", lambda options: network.answers in options.answers)
            yield (
                f"transfer `{self.name}` cannot train a network that {DOES[network.answers]}, such as target.network "
                f"`{network.name}`: set transfer.method to {able}"
            )

    def network_of(self, network: NetworkOptions, encoder: Options) -> NetworkOptions | None:
        """The network that is trained, its encoder explicit; None where the method makes one of the source's alone.

        Args:
            network: `target.network`.
            encoder: `source.encoder`.
        """
        return network.with_encoder(encoder)

    @property
    def two_stage(self) -> bool:
        """True where a first stage learns from the source alone; it gets `target.first_stage_epochs`."""
        return False


class NoTransferOptions(TransferOptions):
    """Target only: the network learns from the labels alone."""

    needs_source: ClassVar[bool] = False
    answers: ClassVar[frozenset[Kind]] = frozenset({"class", "boxes"})

    name: Literal["none"] = "none"


class SourceOnlyOptions(TransferOptions):
    """The supervised source as it is: its encoder and its own classifier, measured on the target's test images."""

    needs_classifier: ClassVar[bool] = True
    trains: ClassVar[bool] = False

    name: Literal["source_only"] = "source_only"

    def network_of(self, network: NetworkOptions, encoder: Options) -> None:
        return None


class FineTuneOptions(TransferOptions):
    """The source encoder, in a network on top of it or else with a new linear layer, trained end to end."""

    answers: ClassVar[frozenset[Kind]] = frozenset({"class", "boxes"})

    name: Literal["fine_tune"] = "fine_tune"
    lr_factor: float = Field(
        0.1, ge=0, le=1, description="Learning rate of the copied layers, of the new ones'; 0 freezes."
    )
    freeze_layers: int = Field(0, ge=0, description="Number of named layers, from the input on, that stay frozen.")

    def network_of(self, network: NetworkOptions, encoder: Options) -> NetworkOptions | None:
        return network.with_encoder(encoder) if isinstance(network, OnEncoderOptions) else None

    def clashes(self, whole: Any) -> Iterator[str]:
        yield from super().clashes(whole)
        network, encoder = whole.target.network, whole.source.encoder
        if isinstance(network, OnEncoderOptions) and network.encoder not in (None, encoder):
            yield (
                f"transfer `{self.name}` copies source.encoder (`{encoder.name}`) into target.network, but "
                f"target.network.encoder is another (`{network.encoder.name}`, with its options): leave it out"
            )


class SoftTargetsOptions(TransferOptions):
    """Soft targets: cross-entropy with the teacher's softened distribution beside the labels' (Hinton et al. 2015)."""

    name: Literal["soft_targets"] = "soft_targets"
    teacher: Literal["probe", "clusters"] = Field(
        "probe", description="Teacher's distribution: a probe on the target's labels, or k-means clusters."
    )
    temperature: float = Field(4.0, gt=0, description="Temperature T of both distributions.")
    weight: float = Field(0.3, ge=0, le=1, description="Weight a of the soft term; the labels' has 1 - a.")
    scale_by_temperature: bool = Field(True, description="Multiply the soft term by T^2.")
    probe_epochs: int = Field(20, ge=1, description="Passes over the labelled images that train the probe, at most.")
    probe_hidden: tuple[int, ...] = Field((512, 256), description="Units of the probe's hidden layers.")
    probe_dropout: float = Field(0.5, ge=0, lt=1, description="Dropout on the probe's hidden layers.")
    probe_holdout: float = Field(0.1, gt=0, lt=0.5, description="Share of the labelled images kept for early stopping.")
    clusters: int = Field(64, ge=2, description="Number of k-means clusters for `clusters`.")


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


TransferPart = Annotated[TransferOptions, PartOf("transfer")]
