import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tessera.errors import StudyError
from tessera.models.networks.options import ReducedAlexNetOptions
from tessera.models.networks.reduced_alexnet import ReducedAlexNet


@pytest.mark.parametrize(
    ("width", "image_size", "num_classes", "millions"),
    [
        ("half_quarter", 224, 10, 8.31),
        ("half_quarter", 32, 10, 3.99),
        ("half_quarter", 32, 100, 4.08),
        ("quarter", 224, 10, 4.48),
        ("quarter", 32, 10, 2.32),
        ("quarter", 32, 100, 2.41),
    ],
)
def test_parameters_are_as_many_as_counted_by_hand(
    width: str, image_size: int, num_classes: int, millions: float
) -> None:
    options = ReducedAlexNetOptions.model_validate({"width": width, "batch_norm": False})
    with torch.device("meta"):
        network = ReducedAlexNet(options, num_classes=num_classes, image_size=image_size)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("image_size", "sides"),
    [(32, (16, 8, 8, 8)), (64, (32, 16, 16, 16)), (96, (48, 24, 24, 24)), (224, (56, 28, 28, 28))],
)
def test_maps_have_the_names_channels_and_sides_of_the_layout(image_size: int, sides: tuple[int, ...]) -> None:
    network = ReducedAlexNet(ReducedAlexNetOptions(width="quarter", hidden=8), num_classes=5, image_size=image_size)
    images = torch.randn(2, 3, image_size, image_size)
    maps = network.layers(images)
    assert list(maps) == ["pool1", "pool2", "conv4", "conv5"]
    assert {name: found.shape[1] for name, found in maps.items()} == network.layer_channels
    assert tuple(found.shape[2] for found in maps.values()) == sides
    assert network(images).shape == (2, 5)


@pytest.mark.parametrize("pairs", ["across_stage", "within_stage"])
def test_every_pair_names_maps(pairs: str) -> None:
    network = ReducedAlexNet(ReducedAlexNetOptions(width="quarter", hidden=8), num_classes=5, image_size=16)
    channels = {**network.layer_channels, **network.inner_channels}
    names = [name for pair in network.stage_pairs[pairs] for name in pair]
    maps = network.maps(torch.randn(2, 3, 16, 16), names)
    assert all(maps[name].shape[1] == channels[name] for name in names)
    if pairs == "within_stage":
        assert all(maps[a].shape[2:] == maps[b].shape[2:] for a, b in network.stage_pairs[pairs])


def test_options_are_honoured() -> None:
    network = ReducedAlexNet(
        ReducedAlexNetOptions(hidden=7, dropout=0.25, batch_norm=False), num_classes=3, image_size=32
    )
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.25, 0.25]
    assert [m.out_features for m in network.modules() if isinstance(m, nn.Linear)] == [7, 7, 3]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    with_norm = ReducedAlexNet(ReducedAlexNetOptions(hidden=7), num_classes=3, image_size=32)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in with_norm.modules()) == 5


def test_forward_is_the_classifier_of_the_last_map() -> None:
    network = ReducedAlexNet(ReducedAlexNetOptions(hidden=8), num_classes=3, image_size=32).eval()
    images = torch.randn(2, 3, 32, 32)
    assert_close(network(images), network.classify(network.layers(images)["conv5"]))


def test_images_too_small_are_refused() -> None:
    with pytest.raises(StudyError, match="8 px or more"):
        ReducedAlexNet(ReducedAlexNetOptions(), num_classes=3, image_size=7)
