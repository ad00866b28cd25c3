"""Encoders by depth and width: as many weights as papers and public code count, and their maps by plain loops."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from pydantic import ValidationError
from torch import Tensor, nn
from torch.testing import assert_close

from tessera import registry
from tessera.models.encoders.base import Encoder
from tessera.models.encoders.options import VGGOptions, WideResNetOptions
from tessera.models.encoders.plain import VGG
from tessera.models.encoders.wide_resnet import WideResNet
from tessera.models.networks.build import build_network
from tessera.models.networks.options import ClassifierOptions


def _options(name: str, **options: Any) -> Any:
    return registry.parts("encoder")[name].options.model_validate({"name": name, **options})


def _encoder(name: str, **options: Any) -> Encoder:
    built: Encoder = registry.load("encoder", name)(_options(name, **options))
    return built


@pytest.mark.parametrize(
    ("name", "options", "classes", "weights"),
    [
        # Of Tian et al. 2020 (RepDistiller), whose classifier is one linear layer: printed by their code.
        ("cifar_resnet", {"depth": 20}, 100, 278_324),
        ("cifar_resnet", {"depth": 56}, 100, 861_620),
        ("cifar_resnet", {"depth": 110}, 100, 1_736_564),
        ("cifar_resnet", {"depth": 8, "width": 4}, 100, 1_233_540),
        ("cifar_resnet", {"depth": 32, "width": 4}, 100, 7_433_860),
        ("wide_resnet", {"depth": 16, "width": 2}, 100, 703_284),
        ("wide_resnet", {"depth": 40, "width": 1}, 100, 569_780),
        ("wide_resnet", {"depth": 40, "width": 2}, 100, 2_255_156),
        ("vgg", {"depth": 8}, 100, 3_965_028),
        ("vgg", {"depth": 13}, 100, 9_462_180),
        # Of Zagoruyko & Komodakis 2016, table 4: 36.5 M; and the smallest of Ahn et al. 2019: 0.17 M.
        ("wide_resnet", {"depth": 28, "width": 10}, 10, 36_479_194),
        ("wide_resnet", {"depth": 16, "width": 1}, 10, 175_066),
        # Of public code for CIFAR, and of torchvision.
        ("resnet18", {"stem": "3x3"}, 10, 11_173_962),
        ("resnet18", {"stem": "7x7"}, 1000, 11_689_512),
    ],
)
def test_weights_are_as_many_as_published(name: str, options: dict[str, Any], classes: int, weights: int) -> None:
    with torch.device("meta"):
        network = build_network(ClassifierOptions(encoder=_options(name, **options)), classes, image_size=32)
        assert network(torch.empty(2, 3, 32, 32)).shape == (2, classes)
    assert sum(p.numel() for p in network.parameters()) == weights


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_without_projections_a_cifar_resnet_is_as_large_as_that_of_the_paper(depth: int, millions: float) -> None:
    with torch.device("meta"):
        encoder = _encoder("cifar_resnet", depth=depth)
    shared = sum(p.numel() for name, p in encoder.named_parameters() if "downsample" not in name)
    assert shared + 65 * 10 == pytest.approx(millions * 1e6, rel=0.02)  # with the classifier: He et al. 2016, table 6


@pytest.mark.parametrize(("depth", "width"), [(10, 3), (16, 1), (40, 2)])
def test_weights_of_a_wide_resnet_are_as_many_as_counted(depth: int, width: int) -> None:
    with torch.device("meta"):
        encoder = _encoder("wide_resnet", depth=depth, width=width)
    blocks, convolutions, norms, before = (depth - 4) // 6, 9 * 3 * 16, 2 * 64 * width, 16
    for wide in (16 * width, 32 * width, 64 * width):
        convolutions += 9 * (before * wide + (2 * blocks - 1) * wide * wide) + (before * wide if before != wide else 0)
        norms += 2 * (before + (2 * blocks - 1) * wide)
        before = wide
    assert sum(p.numel() for p in encoder.parameters()) == convolutions + norms


@pytest.mark.parametrize(
    ("name", "depth", "line"),
    [
        ("cifar_resnet", 21, "should be 6n + 2, such as 20 or 26, but is 21"),
        ("cifar_resnet", 9, "should be 6n + 2, such as 8 or 14, but is 9"),
        ("wide_resnet", 38, "should be 6n + 4, such as 34 or 40, but is 38"),
        ("vgg", 12, "Input should be 8, 11, 13, 16 or 19"),
    ],
)
def test_a_depth_that_no_number_of_blocks_gives_is_refused(name: str, depth: int, line: str) -> None:
    with pytest.raises(ValidationError) as raised:
        _options(name, depth=depth)
    assert line in str(raised.value)


@torch.no_grad()
@pytest.mark.parametrize("width", [1, 2])
def test_a_wide_resnet_is_that_of_the_paper_step_by_step(width: int) -> None:
    encoder = WideResNet(WideResNetOptions(depth=16, width=width)).double()
    encoder(torch.randn(4, 3, 16, 16, dtype=torch.float64))  # moves the statistics of batch norms
    weights, images = encoder.eval().state_dict(), torch.randn(2, 3, 16, 12, dtype=torch.float64)

    def active(maps: Tensor, name: str) -> Tensor:
        mean, variance, scale, shift = (
            weights[f"{name}.{of}"].view(-1, 1, 1) for of in ("running_mean", "running_var", "weight", "bias")
        )
        return ((maps - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp(min=0)

    expected = {"stem": F.conv2d(images, weights["conv1.weight"], padding=1)}
    last = expected["stem"]
    for stage in (1, 2, 3):
        for block in (0, 1):
            name, stride = f"block{stage}.layer.{block}", 2 if stage > 1 and block == 0 else 1
            inner = active(last, f"{name}.bn1")
            shortcut = f"{name}.convShortcut.weight"
            assert (shortcut in weights) == (block == 0 and (width > 1 or stage > 1))
            skipped = F.conv2d(inner, weights[shortcut], stride=stride) if shortcut in weights else last
            inner = F.conv2d(inner, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
            inner = active(inner, f"{name}.bn2")
            last = skipped + F.conv2d(inner, weights[f"{name}.conv2.weight"], padding=1)
            expected |= {f"stage{stage}.first": inner} if block == 0 else {}
            expected |= {f"stage{stage}.unit1": last} if block == 0 else {f"stage{stage}": last}
    expected |= {"stage3.sum": last, "stage3": active(last, "bn1")}
    assert expected.keys() == encoder.layer_channels.keys() | encoder.inner_channels.keys()
    assert_close(encoder.maps(images, expected), expected)


def test_dropout_of_a_wide_resnet_is_between_its_convolutions_and_only_in_training() -> None:
    torch.manual_seed(0)
    plain = WideResNet(WideResNetOptions(depth=10)).eval()
    dropping = WideResNet(WideResNetOptions(depth=10, dropout=0.4)).eval()
    dropping.load_state_dict(plain.state_dict())
    images, seen = torch.randn(2, 3, 8, 8), list[Tensor]()
    assert_close(dropping(images), plain(images), rtol=0, atol=0)
    dropping.block1.layer[0].conv2.register_forward_hook(lambda module, given, made: seen.append(given[0]))
    maps = dropping.train().maps(images, ["stage1.first", "stage1"])
    kept = seen[0] != 0
    assert_close(seen[0][kept], maps["stage1.first"][kept] / 0.6)
    lost = (~kept & (maps["stage1.first"] > 0)).sum() / (maps["stage1.first"] > 0).sum()
    assert 0.3 < lost < 0.5


@torch.no_grad()
@pytest.mark.parametrize(("depth", "pools"), [(8, 3), (11, 4), (13, 5), (19, 3)])
def test_a_vgg_has_the_layers_of_torchvision_without_the_last_pooling_layers(depth: int, pools: int) -> None:
    with torch.device("meta"):
        encoder = VGG(VGGOptions.model_validate({"depth": depth, "pools": pools}))
        images = torch.empty(1, 3, 64, 64)
        assert encoder(images).shape == (1, 512, 64 >> pools, 64 >> pools)
        assert encoder.last_unpooled == f"conv5_{encoder.blocks[-1]}"
        if depth == 8:
            return
        model = getattr(torchvision.models, f"vgg{depth}_bn")(weights=None)
    shapes = {name: values.shape for name, values in model.features.state_dict(prefix="features.").items()}
    assert {name: values.shape for name, values in encoder.state_dict().items()} == shapes


@torch.no_grad()
def test_a_vgg_computes_what_torchvisions_layers_do() -> None:
    encoder = VGG(VGGOptions(depth=11, pools=4))
    encoder(torch.randn(2, 3, 32, 32))
    with torch.device("meta"):
        model = torchvision.models.vgg11_bn(weights=None)
    model.load_state_dict(encoder.eval().state_dict(), strict=False, assign=True)
    images = torch.randn(1, 3, 48, 32)
    last = model.eval().features[:-1](images)
    assert_close(encoder(images), last, rtol=0, atol=0)
    assert_close(model.features[-1](last), F.max_pool2d(encoder(images), 2), rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("depth", [8, 11, 13, 16, 19])
@pytest.mark.parametrize("pools", [3, 4, 5])
def test_maps_of_every_vgg_pair_up(depth: int, pools: int) -> None:
    with torch.device("meta"):
        encoder = VGG(VGGOptions.model_validate({"depth": depth, "pools": pools}))
        maps = encoder.maps(torch.empty(1, 3, 64, 64), {**encoder.layer_channels, **encoder.inner_channels})
    for first, last in encoder.stage_pairs["within_stage"]:
        assert first != last
        assert maps[first].shape[2:] == maps[last].shape[2:]
    for point in encoder.attention_points:
        assert maps[point.first].shape[2:] == maps[point.last].shape[2:]
    assert [name for name, _ in encoder.stages()] == [
        f"pool{block}" if block <= pools else f"conv{block}_{n}" for block, n in enumerate(encoder.blocks, start=1)
    ]
    assert {maps[unit].shape[2:] for unit in encoder.unit_layers} == {maps[encoder.unit_layers[-1]].shape[2:]}
    before_pool = [encoder.get_submodule(name) for name in encoder.fusion_convolutions["conv_before_pool"]]
    assert [layer.out_channels for layer in before_pool] == [64, 128, 256, 512, 512][:pools] + [512] * (pools < 5)
    assert len(encoder.fusion_convolutions["stage_last"]) == 5


def test_the_stem_of_a_resnet18_for_small_images_keeps_their_size() -> None:
    with torch.device("meta"):
        encoder = _encoder("resnet18")
        maps = encoder.layers(torch.empty(2, 3, 32, 32))
    assert [tuple(found.shape[1:]) for found in maps.values()] == [
        (64, 32, 32), (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)
    ]  # fmt: skip
    stem = encoder.get_submodule("conv1")
    assert isinstance(stem, nn.Conv2d)
    assert (stem.kernel_size, stem.stride, stem.padding, stem.bias) == ((3, 3), (1, 1), (1, 1), None)
