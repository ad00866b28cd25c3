"""Networks on disk: safetensors, with what rebuilds them as JSON beside the weights. Loading executes nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tessera import registry
from tessera.data.normalization import Normalization
from tessera.errors import ArtifactError, DivergedError, TesseraError
from tessera.models.encoders.base import Encoder, LayeredNetwork
from tessera.models.heads.vectors import VectorHead
from tessera.models.networks.base import DetectionNetwork, TargetNetwork
from tessera.models.networks.build import build_network
from tessera.models.networks.options import ClassifierOptions
from tessera.registry import Options

ENCODER, NETWORK, HEADS = "encoder.safetensors", "network.safetensors", "heads.safetensors"


@dataclass(frozen=True)
class StoredEncoder:
    """An encoder with what it was made from.

    Attributes:
        encoder: On the device, in eval mode.
        normalization: Of the images that it was trained with.
    """

    encoder: Encoder
    options: Options
    normalization: Normalization


@dataclass(frozen=True)
class StoredClassifier:
    """The head of a source that was trained on labels.

    Attributes:
        head: From the encoder's z to logits; on the device, in eval mode.
        hidden: Units of its hidden layers.
        classes: Names of the classes, by logit.
    """

    head: VectorHead
    hidden: tuple[int, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class NetworkAbout:
    """What rebuilds a trained network.

    Attributes:
        options: Of the network; of one on an encoder, the encoder's are among them.
        num_classes: Number of logits; of a network that detects, without the background.
        image_size: Height and width, px.
        normalization: Of the images that it was trained with.
        classes: Names of the classes, by label, where they are known.
    """

    options: Options
    num_classes: int
    image_size: int
    normalization: Normalization
    classes: tuple[str, ...] = ()

    def build(self) -> TargetNetwork | DetectionNetwork:
        """The network, with fresh weights.

        Raises:
            StudyError: If it stands on an encoder, and its options name none.
        """
        network: TargetNetwork | DetectionNetwork = build_network(self.options, self.num_classes, self.image_size)
        return network


@dataclass(frozen=True)
class StoredNetwork:
    """A trained target network, on the device and in eval mode, with what it was made from."""

    network: TargetNetwork | DetectionNetwork
    about: NetworkAbout

    @property
    def normalization(self) -> Normalization:
        return self.about.normalization


def save_encoder(encoder: nn.Module, options: Options, normalization: Normalization, folder: Path) -> None:
    """Writes `encoder.safetensors`; weights are named as in torchvision.

    Raises:
        DivergedError: If a weight or a buffer is not finite.
    """
    about = {"options": options.model_dump(mode="json"), **normalization._asdict()}
    save_weights(encoder.state_dict(), about, folder / ENCODER)


def load_encoder(folder: Path, device: torch.device) -> StoredEncoder:
    """Reads what `save_encoder` wrote.

    Raises:
        ArtifactError: If the file is missing, damaged, or not an encoder.
    """
    state, about = load_weights(folder / ENCODER)
    try:
        options = _options("encoder", about["options"])
        encoder: Encoder = registry.load("encoder", options.name)(options)
        encoder.load_state_dict(state)
        stored = StoredEncoder(encoder, options, normalization_in(about))
    except UNFIT as error:
        raise damaged(folder / ENCODER, error) from error
    _place(encoder, device)
    return stored


def save_network(network: nn.Module, about: NetworkAbout, folder: Path) -> None:
    """Writes `network.safetensors`.

    Raises:
        DivergedError: If a weight or a buffer is not finite.
    """
    content: dict[str, Any] = {
        "options": about.options.model_dump(mode="json"),
        "num_classes": about.num_classes,
        "image_size": about.image_size,
        **about.normalization._asdict(),
    }
    if about.classes:  # absent else, so that what is written of networks that never name them stays the same
        content["classes"] = about.classes
    save_weights(network.state_dict(), content, folder / NETWORK)


def load_network(folder: Path, device: torch.device) -> StoredNetwork:
    """Reads what `save_network` wrote.

    Raises:
        ArtifactError: If the file is missing, damaged, or not a network.
    """
    state, content = load_weights(folder / NETWORK)
    try:
        about = NetworkAbout(
            options=_network_options(content),
            num_classes=int(content["num_classes"]),
            image_size=int(content["image_size"]),
            normalization=normalization_in(content),
            classes=tuple(str(name) for name in content.get("classes", ())),
        )
        network = about.build()
        network.load_state_dict(state)
    except UNFIT as error:
        raise damaged(folder / NETWORK, error) from error
    _place(network, device)
    return StoredNetwork(network, about)


def load_measured(folder: Path, device: torch.device) -> tuple[LayeredNetwork, Normalization]:
    """The network or the encoder that an artifact holds, with the normalisation of its input.

    The maps of a network that detects are those of its encoder.
    """
    if (folder / NETWORK).exists():
        trained = load_network(folder, device)
        return trained.network, trained.normalization
    source = load_encoder(folder, device)
    return source.encoder, source.normalization


def save_heads(heads: nn.ModuleDict, folder: Path, classifier: str | None = None, classes: Sequence[str] = ()) -> None:
    """Writes `heads.safetensors`: every head's weights, named `task.weight`.

    Args:
        classifier: Name of the head that learned the dataset's labels; None where none did.
        classes: Names of the classes, by logit, where there is one.

    Raises:
        DivergedError: If a weight or a buffer is not finite.
    """
    head = None if classifier is None else heads[classifier]
    # A head of another form, one that answers for each pixel, classifies no image.
    about = {"name": classifier, "classes": list(classes)} | _widths(head) if isinstance(head, VectorHead) else None
    save_weights(heads.state_dict(), {"heads": sorted(heads), "classifier": about}, folder / HEADS)


def load_classifier(folder: Path, device: torch.device) -> StoredClassifier | None:
    """Reads the head that `save_heads` called the classifier; None where there is none.

    Raises:
        ArtifactError: If the file is missing, damaged, or of a version that did not say which head is the classifier.
    """
    state, content = load_weights(folder / HEADS)
    if "classifier" not in content:
        raise ArtifactError(
            f"{folder / HEADS}: does not say which head is the classifier (an older version wrote it). "
            "Delete its folder; it is made again."
        )
    about = content["classifier"]
    if about is None:
        return None
    try:
        hidden = tuple(int(units) for units in about["hidden"])
        classes = tuple(str(name) for name in about["classes"])
        head = VectorHead(int(about["num_features"]), hidden, len(classes))
        prefix = f"{about['name']}."
        head.load_state_dict({k.removeprefix(prefix): tensor for k, tensor in state.items() if k.startswith(prefix)})
    except UNFIT as error:
        raise damaged(folder / HEADS, error) from error
    _place(head, device)
    return StoredClassifier(head, hidden, classes)


def _widths(head: VectorHead) -> dict[str, Any]:
    linear = [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
    return {"num_features": linear[0].in_features, "hidden": [layer.out_features for layer in linear[:-1]]}


# What unfit content raises: absent keys, wrong types (pydantic's error is a ValueError), weights that do not fit.
UNFIT = (KeyError, TypeError, ValueError, RuntimeError, TesseraError)


def save_weights(state: Mapping[str, Tensor], about: Mapping[str, Any], path: Path) -> None:
    """Writes weights, and what is said of them, as one safetensors file.

    Raises:
        DivergedError: If a weight or a buffer is not finite.
    """
    if wrong := not_finite(state):
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise DivergedError(f"{path.stem}: `{wrong[0]}`{more} is not finite: the training diverged.")
    # Copies are plain and contiguous, and the metadata is one entry: the same weights give the same bytes.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    save_file(tensors, path, metadata={"tessera": json.dumps(about, sort_keys=True)})


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors in which a value is infinite or no number; the device is waited for once."""
    floats = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    if not floats:
        return []
    finite = torch.stack([tensor.isfinite().all() for tensor in floats.values()]).tolist()
    return [name for name, fine in zip(floats, finite, strict=True) if not fine]


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_weights` wrote: weights on the CPU, and what is said of them.

    Raises:
        ArtifactError: If the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            about = json.loads((file.metadata() or {})["tessera"])
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118, no mapping
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> ArtifactError:
    """What tells of a file that cannot be read, why, and what to delete."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ArtifactError(f"{path}: not a readable network ({reason}). Delete its folder; it is made again.")


def _options(family: str, content: dict[str, Any]) -> Options:
    return registry.find(family, content["name"]).options.model_validate(content)


def _network_options(content: dict[str, Any]) -> Options:
    if content.get("family") != "encoder":
        return _options("network", content["options"])
    # Older files name the encoder that became a classifier, and the oldest no hidden layers.
    return ClassifierOptions(encoder=_options("encoder", content["options"]), hidden=content.get("hidden", ()))


def normalization_in(content: Mapping[str, Any]) -> Normalization:
    """What is said beside weights of the images that they were trained with.

    Raises:
        KeyError, TypeError, ValueError: If nothing is.
    """
    (r, g, b), (s, t, u) = ([float(value) for value in content[key]] for key in Normalization._fields)
    return Normalization((r, g, b), (s, t, u))


def _place(network: nn.Module, device: torch.device) -> None:
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.eval()
