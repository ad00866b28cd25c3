"""What the plan asks of every transfer method, and what can be set of those without a term. Torch-free."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tessera.data.labels import DOES, Kind
from tessera.errors import brief
from tessera.models.networks.options import NetworkOptions, OnEncoderOptions
from tessera.parts import PartOf
from tessera.registry import Options, choices, label

RANDOM = "random"
ViewsWord = Annotated[str, Field(pattern=r"^(random|fixed [1-9][0-9]{0,3})$")]


def fixed_number(views: str) -> int:
    """How many views of an image are drawn once; 0 where each is new.

    >>> fixed_number("fixed 4"), fixed_number("random")
    (4, 0)
    """
    return 0 if views == RANDOM else int(views.partition(" ")[2])


class TransferOptions(Options):
    """What the plan asks of every transfer method.

    Attributes:
        needs_source: False where the method reads no source encoder.
        trains: False where the network is measured as the source left it, without an epoch.
        builds_network: True where it makes the network of the source's encoder.
        adds_term: False where it is no term that could stand beside others.
        answers: Kinds of labels that networks which the method can train predict.
    """

    needs_source: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    builds_network: ClassVar[bool] = False
    adds_term: ClassVar[bool] = True
    answers: ClassVar[frozenset[Kind]] = frozenset({"class"})

    def word(self) -> str:
        """What folders, runs and the log call it."""
        return label(self.name)

    @property
    def named_layers(self) -> tuple[tuple[str, str], ...]:
        """Layers of student and teacher that the study names, which both must have."""
        return ()

    @property
    def needs_classifier(self) -> bool:
        """True where it reads the source's own classifier, so the source must learn its labels."""
        return False

    @property
    def needs_same_classes(self) -> bool:
        """True where that classifier's classes must be the target's."""
        return False

    @property
    def reads_features(self) -> bool:
        """True where the teacher's features are all that it reads of it while it trains: they may be recorded."""
        return False

    @property
    def differentiates_input(self) -> bool:
        """True where its term is one of gradients with respect to the images."""
        return False

    def clashes(self, whole: Any) -> Iterator[str]:
        source, network = whole.source, whole.target.network
        if self.needs_classifier and not source.has_classifier:
            yield (
                f"transfer `{self.name}` reads the source's own classifier, but "
                + (
                    "weights.classifier is not set: set it, where the file has one of the dataset's classes"
                    if source.weights is not None
                    else "no task of the source learns class labels: use method `supervised`"
                )
            )
        if self.needs_same_classes and whole.target.labels is not None:
            yield (
                f"transfer `{self.name}` reads the source's own classifier of `class`, but target.labels is "
                f"`{brief(whole.target.labels)}`: leave that out, or use protocol `tasks`"
            )
        if self.needs_classifier and not source.sharing.heads_read_z:
            yield (
                f"transfer `{self.name}` needs a classifier that reads the encoder's last map, which it does not "
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
    adds_term: ClassVar[bool] = False
    answers: ClassVar[frozenset[Kind]] = frozenset({"class", "boxes"})

    name: Literal["none"] = "none"


class SourceOnlyOptions(TransferOptions):
    """The supervised source as it is: its encoder and its own classifier, measured on the target's test images."""

    trains: ClassVar[bool] = False
    builds_network: ClassVar[bool] = True
    adds_term: ClassVar[bool] = False

    name: Literal["source_only"] = "source_only"

    @property
    def needs_classifier(self) -> bool:
        return True

    @property
    def needs_same_classes(self) -> bool:
        return True

    def network_of(self, network: NetworkOptions, encoder: Options) -> None:
        return None


class FineTuneOptions(TransferOptions):
    """The source encoder, in a network on top of it or else with a new linear layer, trained end to end."""

    builds_network: ClassVar[bool] = True
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
        if encoder.layers and self.freeze_layers > len(encoder.layers):
            yield (
                f"transfer.freeze_layers: {self.freeze_layers}, but encoder `{encoder.name}` has {len(encoder.layers)} "
                f"named layers ({', '.join(encoder.layers)}): lower it"
            )


TransferPart = Annotated[TransferOptions, PartOf("transfer")]
