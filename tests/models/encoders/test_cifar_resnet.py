import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tessera.models.encoders.base import Encoder
from tessera.models.encoders.cifar_resnet import ResNet8, ResNet26
from tessera.models.encoders.options import ResNet8Options, ResNet26Options


def test_shapes_are_those_of_the_paper() -> None:
    maps = ResNet26(ResNet26Options()).layers(torch.randn(2, 3, 32, 32))
    assert [tuple(found.shape[1:]) for found in maps.values()] == [
        (16, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8)
    ]  # fmt: skip


@pytest.mark.parametrize(("network", "blocks"), [(ResNet8(ResNet8Options()), 1), (ResNet26(ResNet26Options()), 4)])
def test_depth_is_six_n_plus_two(network: Encoder, blocks: int) -> None:
    weighted = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(weighted) + 1 == 6 * blocks + 2  # the classifier, which is left out, is the last layer
    # By hand: stem, stages of n blocks (the first of a stage reads the width before it), two projections, norms.
    convolutions = 9 * (3 * 16 + 2 * blocks * 16 * 16)
    for width in (32, 64):
        convolutions += 9 * (width // 2 * width + (2 * blocks - 1) * width * width) + width // 2 * width
    norms = 2 * (16 + 2 * blocks * (16 + 32 + 64) + 32 + 64)
    assert sum(p.numel() for p in network.parameters()) == convolutions + norms


def test_units_are_the_blocks_of_the_last_stage() -> None:
    network = ResNet26(ResNet26Options()).eval()
    assert network.unit_layers == ("stage3.unit1", "stage3.unit2", "stage3.unit3", "stage3")
    images = torch.randn(2, 3, 16, 16)
    maps = network.maps(images, ["stage2", *network.unit_layers])
    last = maps["stage2"]
    for block, unit in zip(network.layer3, network.unit_layers, strict=True):
        last = block(last)[1]
        assert_close(maps[unit], last, rtol=0, atol=0)
    assert ResNet8(ResNet8Options()).unit_layers == ("stage3",)


def test_names_are_those_of_torchvision() -> None:
    names = set(ResNet8(ResNet8Options()).state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer2.0.downsample.0.weight"} <= names


def test_a_block_agrees_with_torchvision() -> None:
    models = pytest.importorskip("torchvision.models.resnet")
    ours = ResNet8(ResNet8Options()).layer2[0]
    theirs = models.BasicBlock(16, 32, 2, nn.Sequential(nn.Conv2d(16, 32, 1, 2, bias=False), nn.BatchNorm2d(32)))
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(3, 16, 8, 8)
    assert_close(ours(images)[1], theirs(images))


def test_a_seed_means_the_same_weights() -> None:
    torch.manual_seed(3)
    first = ResNet8(ResNet8Options()).conv1.weight
    torch.manual_seed(3)
    assert_close(ResNet8(ResNet8Options()).conv1.weight, first, rtol=0, atol=0)
