"""Builds a network of the table from its options."""

from typing import Any

from tessera import registry
from tessera.errors import StudyError
from tessera.models.encoders.base import Encoder
from tessera.models.networks.options import OnEncoderOptions
from tessera.registry import Options


def build_network(options: Options, num_classes: int, image_size: int) -> Any:
    """A `TargetNetwork` or a `DetectionNetwork` with fresh weights; one on an encoder draws the encoder's first.

    Args:
        num_classes: Number of logits; of one that detects, without the background.
        image_size: Height and width, px.

    Raises:
        StudyError: If it stands on an encoder, and its options name none.
    """
    cls = registry.load("network", options.name)
    if not isinstance(options, OnEncoderOptions):
        return cls(options, num_classes=num_classes, image_size=image_size)
    if options.encoder is None:
        raise StudyError(f"network `{options.name}` has no encoder. Set its `encoder`.")
    return cls(options, registry.load("encoder", options.encoder.name)(options.encoder), num_classes)


def take_weights(network: Any, options: OnEncoderOptions, encoder: Encoder, of: Options) -> None:
    """Gives a network on an encoder the weights of a trained one.

    Args:
        options: The network's.
        of: The encoder's options.

    Raises:
        StudyError: If the network stands on another encoder.
    """
    if options.encoder is None or of != options.encoder:
        own = "none" if options.encoder is None else f"`{options.encoder.name}`"
        raise StudyError(
            f"target.network.encoder is {own}, but the source's weights are those of another encoder, `{of.name}`, or "
            "of other options: leave it out."
        )
    network.encoder.load_state_dict(encoder.state_dict())
