"""SegNet: torchvision's VGG-16 down, its pooling undone by plain loops, as many weights as the authors count."""

from itertools import product

import pytest
import torch
import torchvision
from torch import nn
from torch.testing import assert_close

from tessera.models.encoders.options import SegNetOptions
from tessera.models.encoders.segnet import SegNet

SMALL = SegNetOptions(width="eighth")


def test_weights_are_as_many_as_those_of_the_published_code() -> None:
    with torch.device("meta"):
        encoder = SegNet(SegNetOptions())
        head = nn.Sequential(nn.Conv2d(64, 64, 3), nn.Conv2d(64, 13, 1))
    # 24,981,069: the number that the code of Liu et al. 2019 divides by, of one SegNet with a head of 13 classes.
    assert sum(p.numel() for module in (encoder, head) for p in module.parameters()) == 24_981_069


@torch.no_grad()
def test_the_way_down_is_vgg16_with_batch_norms_weight_by_weight() -> None:
    encoder = SegNet(SegNetOptions())
    encoder(torch.randn(2, 3, 32, 32))  # moves the statistics
    with torch.device("meta"):
        model = torchvision.models.vgg16_bn(weights=None)
    state = {name: tensor for name, tensor in encoder.state_dict().items() if name.startswith("features.")}
    missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    assert unexpected == []
    assert all(name.startswith("classifier.") for name in missing)
    images = torch.randn(1, 3, 64, 96)
    found = encoder.eval().maps(images, ["conv1_2", "conv4_3", "pool5"])
    features = model.eval().features
    assert_close(found["conv1_2"], features[:6](images), rtol=0, atol=0)
    assert_close(found["conv4_3"], features[:33](images), rtol=0, atol=0)
    assert_close(found["pool5"], features(images), rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 32), (33, 47)])
def test_unpooling_puts_every_maximum_back_where_it_was(size: tuple[int, int]) -> None:
    encoder = SegNet(SMALL).eval()
    maps = encoder.maps(torch.randn(2, 3, *size), ["conv1_2", "pool1", "dec2_2", "up1", "dec1_2"])
    before, pooled, above, found = maps["conv1_2"], maps["pool1"], maps["dec2_2"], maps["up1"]
    assert maps["dec1_2"].shape == (2, 8, *size)
    assert pooled.shape[2:] == tuple(-(-side // 2) for side in size)  # no row goes unseen
    expected = torch.zeros_like(before)
    for n, c, y, x in product(*(range(side) for side in pooled.shape)):
        window = before[n, c, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        assert pooled[n, c, y, x] == window.max()
        place = window.flatten().argmax().item()
        expected[n, c, 2 * y + place // window.shape[1], 2 * x + place % window.shape[1]] = above[n, c, y, x]
    assert torch.equal(found, expected)


@torch.no_grad()
def test_the_way_up_narrows_with_its_first_convolutions() -> None:
    encoder = SegNet(SegNetOptions(width="quarter")).eval()
    maps = encoder.maps(torch.randn(1, 3, 64, 64), [name for name in encoder.layer_channels if name.startswith("dec")])
    assert {name: tuple(found.shape[1:]) for name, found in maps.items()} == {
        **{f"dec5_{i}": (128, 4, 4) for i in (1, 2, 3)},
        **{f"dec4_{i}": (64, 8, 8) for i in (1, 2, 3)},
        **{f"dec3_{i}": (32, 16, 16) for i in (1, 2, 3)},
        **{f"dec2_{i}": (16, 32, 32) for i in (1, 2)},
        **{f"dec1_{i}": (16, 64, 64) for i in (1, 2)},
    }


@torch.no_grad()
def test_two_passes_at_once_do_not_share_their_indices() -> None:
    encoder, (one, other) = SegNet(SMALL).eval(), torch.randn(2, 1, 3, 32, 32)
    kept: tuple[dict, dict] = ({}, {})  # type: ignore[type-arg]
    made = [one, other]
    for _, stage in encoder.stages():
        made = [stage(images, own) for images, own in zip(made, kept, strict=True)]
    assert torch.equal(made[0], encoder(one))
    assert torch.equal(made[1], encoder(other))


def test_convolutions_start_as_those_of_vgg16() -> None:
    for module in SegNet(SegNetOptions(width="half")).modules():
        if isinstance(module, nn.Conv2d):
            assert_close(module.weight.std().item(), (2 / (9 * module.out_channels)) ** 0.5, rtol=0.1, atol=0)
            assert not module.bias.any()  # type: ignore[union-attr]
