import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close

from tessera.data.normalization import Normalization
from tessera.errors import ArtifactError, DivergedError, StudyError
from tessera.models.encoders.cifar_resnet import ResNet8
from tessera.models.encoders.options import ResNet8Options, VGG16Options
from tessera.models.encoders.plain import VGG16
from tessera.models.heads.vectors import VectorHead
from tessera.models.networks.base import DetectionNetwork
from tessera.models.networks.options import ClassifierOptions, ReducedAlexNetOptions, SSD300Options
from tessera.models.networks.ssd import SSD300
from tessera.models.store import (
    NetworkAbout,
    load_classifier,
    load_encoder,
    load_measured,
    load_network,
    not_finite,
    save_encoder,
    save_heads,
    save_network,
)

CPU = torch.device("cpu")
NORMALIZATION = Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
ABOUTS = [
    NetworkAbout(ReducedAlexNetOptions(hidden=8, batch_norm=False), 5, 16, NORMALIZATION),
    NetworkAbout(ClassifierOptions(encoder=ResNet8Options()), 5, 16, NORMALIZATION),
    NetworkAbout(ClassifierOptions(encoder=ResNet8Options(), hidden=(7, 6)), 5, 16, NORMALIZATION),
]


DETECTOR = NetworkAbout(
    SSD300Options(encoder=VGG16Options(width="quarter"), image_size=64, nms_iou=0.3),
    2,
    64,
    NORMALIZATION,
    classes=("cat", "dog"),
)


def trained_encoder() -> ResNet8:
    encoder = ResNet8(ResNet8Options())
    encoder.to(memory_format=torch.channels_last)
    encoder(torch.randn(4, 3, 16, 16))  # moves the batch-norm statistics
    return encoder


def test_an_encoder_comes_back_as_it_was(tmp_path: Path) -> None:
    encoder = trained_encoder()
    save_encoder(encoder, ResNet8Options(), NORMALIZATION, tmp_path)
    stored = load_encoder(tmp_path, CPU)
    images = torch.randn(2, 3, 16, 16)
    assert_close(stored.encoder(images), encoder.eval()(images))
    assert (stored.options, stored.normalization) == (ResNet8Options(), NORMALIZATION)
    assert not stored.encoder.training


def test_names_in_the_file_are_those_of_torchvision(tmp_path: Path) -> None:
    save_encoder(trained_encoder(), ResNet8Options(), NORMALIZATION, tmp_path)
    names = set(load_file(tmp_path / "encoder.safetensors"))
    assert {"conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer2.0.downsample.1.running_var"} <= names


@pytest.mark.parametrize("about", ABOUTS, ids=["reduced_alexnet", "linear", "hidden"])
def test_a_network_comes_back_as_it_was(about: NetworkAbout, tmp_path: Path) -> None:
    network = about.build()
    network(torch.randn(4, 3, 16, 16))
    save_network(network, about, tmp_path)
    stored = load_network(tmp_path, CPU)
    images = torch.randn(2, 3, 16, 16)
    assert_close(stored.network(images), network.eval()(images))
    assert stored.about == about
    assert stored.normalization == NORMALIZATION


def test_a_detector_comes_back_as_it_was(tmp_path: Path) -> None:
    network = DETECTOR.build()
    save_network(network, DETECTOR, tmp_path)
    stored = load_network(tmp_path, CPU)
    assert stored.about == DETECTOR
    assert isinstance(stored.network, SSD300)
    assert isinstance(network, SSD300)
    images = torch.randn(
        2, 3, 64, 64
    ).double()  # in float32 they may differ: the sums of their layouts have an order each
    assert_close(stored.network.double().predict(images), network.double().eval().predict(images))
    assert stored.network.options == DETECTOR.options
    assert not stored.network.training


def test_a_detector_is_what_is_measured(tmp_path: Path) -> None:
    save_network(DETECTOR.build(), DETECTOR, tmp_path)
    network, normalization = load_measured(tmp_path, CPU)
    assert isinstance(network, DetectionNetwork)
    assert normalization == NORMALIZATION


def test_the_encoder_of_a_detector_is_named_as_in_torchvision(tmp_path: Path) -> None:
    network = DETECTOR.build()
    save_network(network, DETECTOR, tmp_path)
    prefix = "encoder."
    weights = {k.removeprefix(prefix): v for k, v in load_file(tmp_path / "network.safetensors").items() if prefix in k}
    fresh = VGG16(VGG16Options(width="quarter"))
    fresh.load_state_dict(weights)
    assert_close(fresh.state_dict(), network.get_submodule("encoder").state_dict())


def test_a_detector_without_an_encoder_is_not_built() -> None:
    with pytest.raises(StudyError, match=r"network `ssd300` has no encoder\. Set its `encoder`"):
        NetworkAbout(SSD300Options(), 2, 300, NORMALIZATION).build()


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    encoder = trained_encoder()
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_encoder(encoder, ResNet8Options(), NORMALIZATION, tmp_path / name)
        written.append((tmp_path / name / "encoder.safetensors").read_bytes())
        encoder = encoder.to(memory_format=torch.contiguous_format)
    assert written[0] == written[1]


def test_heads_are_written_by_task(tmp_path: Path) -> None:
    jigsaw = nn.Linear(2, 3)
    save_heads(nn.ModuleDict({"jigsaw": jigsaw, "colorization": nn.Linear(2, 4)}), tmp_path)
    assert_close(load_file(tmp_path / "heads.safetensors")["jigsaw.weight"], jigsaw.weight.detach())


@pytest.mark.parametrize("hidden", [(), (6, 5)])
def test_the_classifier_comes_back_with_its_classes(hidden: tuple[int, ...], tmp_path: Path) -> None:
    learned = VectorHead(8, hidden, 3, dropout=0.5)
    save_heads(nn.ModuleDict({"learned": learned, "learned2": VectorHead(8, (), 3)}), tmp_path, "learned", "abc")
    stored = load_classifier(tmp_path, CPU)
    assert stored is not None
    assert (stored.hidden, stored.classes) == (hidden, ("a", "b", "c"))
    features = torch.randn(2, 8, 3, 3)
    assert_close(stored.head(features), learned.eval()(features))
    assert not stored.head.training


@pytest.mark.parametrize("classifier", [None, "grid"])
def test_heads_that_classify_no_image_give_no_classifier(classifier: str | None, tmp_path: Path) -> None:
    save_heads(nn.ModuleDict({"grid": nn.Linear(8, 3), "jigsaw": VectorHead(8, (), 3)}), tmp_path, classifier)
    assert load_classifier(tmp_path, CPU) is None


def test_heads_of_an_older_version_are_told_to_be_made_again(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "heads.safetensors", metadata={"tessera": '{"heads": ["a"]}'})
    with pytest.raises(ArtifactError, match=r"heads.safetensors: does not say which head is the classifier .+ Delete"):
        load_classifier(tmp_path, CPU)


@pytest.mark.parametrize(
    ("about", "older"),
    [
        (ABOUTS[0], {"family": "network", "hidden": []}),
        (ABOUTS[1], {"family": "encoder", "options": {"name": "resnet8"}}),
        (ABOUTS[1], {"family": "encoder", "options": {"name": "resnet8"}, "hidden": []}),
        (ABOUTS[2], {"family": "encoder", "options": {"name": "resnet8"}, "hidden": [7, 6]}),
    ],
)
def test_a_network_of_an_older_version_is_read(about: NetworkAbout, older: dict[str, Any], tmp_path: Path) -> None:
    network = about.build().eval()
    save_network(network, about, tmp_path)
    path = tmp_path / "network.safetensors"
    with safe_open(path, framework="pt") as file:
        content = {**json.loads(file.metadata()["tessera"]), **older}
    save_file(load_file(path), path, metadata={"tessera": json.dumps(content)})
    stored = load_network(tmp_path, CPU)
    images = torch.randn(2, 3, 16, 16)
    assert stored.about == about
    assert_close(stored.network(images), network(images))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def garble(path: Path) -> None:
    path.write_bytes(b"\xff" * 64)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def drop_a_weight(path: Path) -> None:
    state = load_file(path)
    state.pop(next(name for name in state if name.endswith(".weight")))
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(state, path, metadata=metadata)


def drop_the_metadata(path: Path) -> None:
    save_file(load_file(path), path)


def swap_the_metadata(path: Path) -> None:
    save_file(load_file(path), path, metadata={"tessera": '{"options": {"name": "no_such"}, "family": "no_such"}'})


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    "damage",
    [cut, garble, empty, drop_a_weight, drop_the_metadata, swap_the_metadata, remove],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize(("what", "about"), [("encoder", None), ("network", ABOUTS[0]), ("network", DETECTOR)])
def test_a_damaged_file_is_told_in_one_line(
    what: str, about: NetworkAbout | None, damage: object, tmp_path: Path
) -> None:
    if about is None:
        save_encoder(trained_encoder(), ResNet8Options(), NORMALIZATION, tmp_path)
    else:
        save_network(about.build(), about, tmp_path)
    assert callable(damage)
    damage(tmp_path / f"{what}.safetensors")
    with pytest.raises(ArtifactError, match=rf"{what}.safetensors: not a readable network \(.+\). Delete") as caught:
        (load_encoder if what == "encoder" else load_network)(tmp_path, CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["conv1.weight", "bn1.running_var"])
def test_what_diverged_is_not_written(name: str, value: float, tmp_path: Path) -> None:
    encoder = ResNet8(ResNet8Options())
    encoder.state_dict()[name].view(-1)[-1] = value
    with pytest.raises(DivergedError, match=rf"encoder: `{name}` is not finite: the training diverged\."):
        save_encoder(encoder, ResNet8Options(), NORMALIZATION, tmp_path)
    heads = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    for head in heads.values():
        nn.init.constant_(head.bias, value)
    with pytest.raises(DivergedError, match=r"heads: `a\.bias` and 1 more is not finite"):
        save_heads(heads, tmp_path)
    assert not list(tmp_path.iterdir())


def test_large_and_whole_numbers_are_finite() -> None:
    assert (
        not_finite({"large": torch.tensor([3e38, -3e38]), "count": torch.tensor(2**60), "none": torch.zeros(0)}) == []
    )
    assert not_finite({}) == []
