"""Layers that a study names: looked for in its networks, and their maps measured, before any job starts.

What an encoder's options know is read there (`EncoderOptions.layers` and `strides`), which costs nothing.

Only here does a plan build networks, without their weights, and so imports torch, which takes seconds: where a study
names no layer and pools no map, or the options know of it, nothing of it is done.
"""

from functools import lru_cache

from tessera.errors import StudyError, brief
from tessera.registry import Options, suggest
from tessera.study.schema import Experiment


def refuse_missing_layers(experiment: Experiment, shown: str) -> None:
    """Refuses layers that a transfer compares, or a protocol reads, and that the network does not have, or too small.

    Args:
        shown: File, row and column, for messages.

    Raises:
        StudyError: With one line for each layer.
    """
    _refuse_unread(experiment, shown)
    _refuse_small_map(experiment, shown)
    transfer, target, encoder = experiment.transfer, experiment.target, experiment.source.encoder
    network = transfer.network_of(target.network, encoder)
    if not transfer.named_layers or network is None:
        return
    students, teachers = zip(*transfer.named_layers, strict=True)
    lines = [
        f"{shown}: `transfer.layers`: {who} has no layer `{name}`. {suggest(name, known)}"
        for who, names, known in (
            (f"the target network (`{network.name}`)", students, _layers_of(network, target.dataset.pixels())),
            (f"the source encoder (`{encoder.name}`)", teachers, _layers_of(encoder, None)),
        )
        for name in dict.fromkeys(names)
        if name not in known
    ]
    if lines:
        raise StudyError("\n".join(lines))


def _refuse_unread(experiment: Experiment, shown: str) -> None:
    """Of a layer that the encoder's options do not know: it may be an inner one."""
    encoder, target = experiment.source.encoder, experiment.target
    layer = getattr(target.reader(experiment.source), "layer", None)
    if layer is None or layer in encoder.layers:  # type: ignore[attr-defined]
        return
    if layer not in (known := _layers_of(encoder, None)):
        key = "layer" if target.layer is not None else "protocol.layer"
        raise StudyError(
            f"{shown}: `target.{key}`: encoder `{encoder.name}` has no layer `{brief(layer)}`. {suggest(layer, known)}"
        )


def _refuse_small_map(experiment: Experiment, shown: str) -> None:
    """Of a map that a protocol would pool to more than it has."""
    target, encoder = experiment.target, experiment.source.encoder
    reader, image = target.reader(experiment.source), target.dataset.shape()
    layer, pool_px = getattr(reader, "layer", None), getattr(reader, "pool_px", None) or 1
    if pool_px == 1 or (found := _map_size(encoder, layer, image)) is None:
        return
    height, width = found
    if min(height, width) < pool_px:
        key = "pool_px" if target.pool_px is not None else "protocol.pool_px"
        which = f"layer `{layer}`" if layer else "the last layer"
        raise StudyError(
            f"{shown}: `target.{key}` is {pool_px}, but of images of {image[0]} x {image[1]} px {which} of encoder "
            f"`{encoder.name}` has a map of {height} x {width} px: lower it, or read an earlier layer"
        )


def _map_size(encoder: Options, layer: str | None, image: tuple[int, int]) -> tuple[int, int] | None:
    """Height and width of the map of a layer, None the last, of images of this height and width; None if unknown."""
    strides = encoder.strides  # type: ignore[attr-defined]
    known = list(strides)[-1] if strides and layer is None else layer
    if known in strides:
        height, width = (-(-side // strides[known]) for side in image)
        return height, width
    return _measured(type(encoder), encoder.model_dump_json(), layer, image)


def _layers_of(options: Options, image_size: int | None) -> tuple[str, ...]:
    return _layers(type(options), options.model_dump_json(), image_size)


@lru_cache(maxsize=64)
def _layers(kind: type[Options], dumped: str, image_size: int | None) -> tuple[str, ...]:
    """Names of all maps of an encoder, or, where there is an image size, of a target network."""
    import torch

    from tessera import registry
    from tessera.models.networks.build import build_network

    options = kind.model_validate_json(dumped)
    with torch.device("meta"):
        if image_size is None:
            network = registry.load("encoder", options.name)(options)
        else:
            network = build_network(options, 2, image_size)
    return (*network.layer_channels, *network.inner_channels)


@lru_cache(maxsize=64)
def _measured(kind: type[Options], dumped: str, layer: str | None, image: tuple[int, int]) -> tuple[int, int] | None:
    """The same, of a network without values; None where it cannot run so: then the job tells."""
    import torch

    from tessera import registry

    options = kind.model_validate_json(dumped)
    with torch.device("meta"), torch.no_grad():
        try:
            encoder = registry.load("encoder", options.name)(options).eval()
            images = torch.empty(1, 3, *image)
            made = encoder(images) if layer is None else encoder.maps(images, (layer,))[layer]
        except Exception:  # whatever a part of one's own raises that reads values
            return None
    height, width = made.shape[-2:]
    return height, width
