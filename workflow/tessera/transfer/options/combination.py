"""What can be set of several transfers in one training. Torch-free."""

from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tessera.models.networks.options import NetworkOptions
from tessera.registry import Options
from tessera.transfer.options.base import TransferOptions, TransferPart


class CombinationOptions(TransferOptions):
    """Several methods at once: a list of them, whose terms are added and whose weights of the labels are multiplied."""

    name: Literal["combination"] = "combination"
    of: tuple[TransferPart, ...] = Field(description="The methods, each with its options.")

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if len(self.of) < 2:
            raise ValueError(f"lists {len(self.of)} methods: name one, or list two or more")
        for member in self.of:
            if isinstance(member, CombinationOptions):
                raise ValueError("lists a list within a list: write all methods in one")
            if not member.adds_term:
                raise ValueError(f"`{member.name}` is no term that could stand beside others: leave it out")
        for place, member in enumerate(self.of):
            if member in self.of[:place]:
                raise ValueError(f"lists `{member.name}` twice, with the same options: leave one out")
        for what, members in (
            ("has a first stage of its own", [member for member in self.of if member.two_stage]),
            ("builds the network", [member for member in self.of if member.builds_network]),
        ):
            if len(members) > 1:
                raise ValueError(
                    f"each of {' and '.join(f'`{member.name}`' for member in members)} {what}, but one at most can: "
                    "leave one out, or give it another mode"
                )
        return self

    def word(self) -> str:
        return "-".join(member.word() for member in self.of)

    @property
    def named_layers(self) -> tuple[tuple[str, str], ...]:
        return tuple(pair for member in self.of for pair in member.named_layers)

    @property
    def needs_classifier(self) -> bool:
        return any(member.needs_classifier for member in self.of)

    @property
    def needs_same_classes(self) -> bool:
        return any(member.needs_same_classes for member in self.of)

    @property
    def reads_features(self) -> bool:
        return all(member.reads_features for member in self.of)

    @property
    def differentiates_input(self) -> bool:
        return any(member.differentiates_input for member in self.of)

    @property
    def two_stage(self) -> bool:
        return any(member.two_stage for member in self.of)

    def network_of(self, network: NetworkOptions, encoder: Options) -> NetworkOptions | None:
        for member in self.of:
            if member.builds_network:
                return member.network_of(network, encoder)
        return super().network_of(network, encoder)

    def clashes(self, whole: Any) -> Iterator[str]:
        yield from ()  # each member says its own
