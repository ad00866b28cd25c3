"""What goes together in a target that detects: dataset, network, protocol and transfer. Says what does not."""

from collections.abc import Iterable

from tessera import registry
from tessera.registry import Options

AUGMENTATIONS = {False: "crop_flip", True: "ssd"}


def detects(part: Options) -> bool:
    """Whether a network, a protocol or a transfer method is made for boxes. A part of one's own says so likewise."""
    return bool(getattr(part, "detects", False))


def has_boxes(dataset: Options) -> bool:
    """Whether a dataset's labels are boxes of objects, instead of a class an image."""
    return bool(getattr(dataset, "has_boxes", False))


def check_target(
    dataset: Options, network: Options, protocol: Options, label_fraction: float, augmentation: str | None
) -> None:
    """Refuses a target whose parts are not all of detection, or all not.

    Raises:
        ValueError: If they do not fit; the message names the key to change.
    """
    if detects(protocol) and not has_boxes(dataset):
        raise ValueError(
            f"protocol `{protocol.name}` scores boxes, but dataset `{dataset.name}` has none: "
            f"set target.dataset to {_one_of('dataset', 'has_boxes')}"
        )
    if detects(protocol) and not detects(network):
        raise ValueError(
            f"protocol `{protocol.name}` measures a network that detects, but `{network.name}` does not: "
            f"set target.network to {_one_of('network', 'detects')}"
        )
    if not detects(protocol) and (has_boxes(dataset) or detects(network)):
        what = f"dataset `{dataset.name}` has boxes" if has_boxes(dataset) else f"network `{network.name}` finds boxes"
        raise ValueError(
            f"{what}, which protocol `{protocol.name}` cannot score: "
            f"set target.protocol to {_one_of('protocol', 'detects')}, or choose another "
            f"target.{what.partition(' ')[0]}"
        )
    other = AUGMENTATIONS[not detects(network)]
    if augmentation == other:
        own, why = AUGMENTATIONS[detects(network)], "moves no boxes" if detects(network) else "is made for boxes"
        raise ValueError(
            f"augmentation `{other}` {why}, so network `{network.name}` cannot learn from it: use `{own}` or `none`"
        )
    if detects(network) and label_fraction < 1:
        raise ValueError(
            f"label_fraction is {label_fraction:g}, but network `{network.name}` learns from the boxes of all training "
            "images: leave it at 1"
        )


def check_transfer(transfer: Options, network: Options, encoder: Options) -> None:
    """Refuses a transfer that cannot train the network, or that would copy an encoder where another one stands.

    Args:
        encoder: The source's.

    Raises:
        ValueError: If they do not fit; the message names the key to change.
    """
    if not detects(network):
        return
    if not detects(transfer):
        raise ValueError(
            f"transfer `{transfer.name}` cannot train a network that detects, such as target.network "
            f"`{network.name}`: set transfer.method to {_one_of('transfer', 'detects')}"
        )
    own = getattr(network, "encoder", None)
    if getattr(transfer, "needs_source", True) and own is not None and own != encoder:
        raise ValueError(
            f"transfer `{transfer.name}` copies source.encoder (`{encoder.name}`) into target.network, but "
            f"target.network.encoder is another (`{own.name}`, with its options): leave it out"
        )


def with_encoder(network: Options, encoder: Options) -> Options:
    """A network that detects, its encoder explicit: its own, or else the source's."""
    if "encoder" not in type(network).model_fields or getattr(network, "encoder", None) is not None:
        return network
    return network.model_copy(update={"encoder": encoder})


def _one_of(family: str, attribute: str) -> str:
    names = [f"`{name}`" for name, part in registry.parts(family).items() if getattr(part.options, attribute, False)]
    return _listed(sorted(names))


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
