"""Encoders that torchvision has too: the same network, with the same names."""

import copy
import itertools
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.testing import assert_close

from tessera import registry
from tessera.models.encoders.base import Encoder
from tessera.models.encoders.halving import HalvingConvolution, guard_halving
from tessera.models.encoders.options import AlexNetOptions, ResNet50Options, VGG16Options
from tessera.models.encoders.plain import VGG16, AlexNet
from tessera.models.encoders.torchvision_resnet import ResNet50

NAMES = {
    "alexnet": "alexnet",
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "vgg13_bn": "vgg",
    "vgg16": "vgg16",
    "vgg16_bn": "vgg16",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "resnet18": {"stem": "7x7"},
    "vgg13_bn": {"depth": 13, "pools": 5},
    "vgg16_bn": {"batch_norm": True},
}


def _encoder(name: str) -> Encoder:
    options = {"name": NAMES[name], **OPTIONS.get(name, {})}
    built: Encoder = registry.load("encoder", NAMES[name])(
        registry.parts("encoder")[NAMES[name]].options.model_validate(options)
    )
    return built


def _loaded(name: str, encoder: Encoder) -> nn.Module:
    """torchvision's model with our weights; what it has beside them has no memory, and is never asked."""
    with torch.device("meta"):
        model: nn.Module = getattr(torchvision.models, name)(weights=None)
    missing, unexpected = model.load_state_dict(encoder.state_dict(), strict=False, assign=True)
    assert unexpected == []
    assert missing
    assert all(key.startswith(("classifier.", "fc.")) for key in missing)
    return model.eval()


def _features(model: nn.Module, images: Tensor) -> Tensor:
    if hasattr(model, "features"):
        features: Tensor = model.features(images)
        return features
    for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
        images = model.get_submodule(name)(images)
    return images


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_a_trained_encoder_loads_into_torchvision(name: str) -> None:
    encoder = _encoder(name)
    encoder(torch.randn(2, 3, 64, 64))  # moves the statistics of batch norms, where there are any
    model = _loaded(name, encoder.eval())
    for px in (64, 75):
        images = torch.randn(1, 3, px, px)
        assert_close(encoder(images), _features(model, images), rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_features_at_224_px_are_those_of_torchvision(name: str) -> None:
    encoder = _encoder(name)
    encoder(torch.randn(2, 3, 64, 64))
    model = _loaded(name, encoder.eval())
    images = torch.randn(1, 3, 224, 224)
    assert_close(encoder(images), _features(model, images), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("alexnet", {"conv1": 55, "conv2": 27, "conv3": 13, "conv5": 13, "pool5": 6}),
        ("vgg16", {"conv1_2": 224, "conv2_2": 112, "conv3_3": 56, "conv4_3": 28, "conv5_3": 14, "pool5": 7}),
        ("resnet18", {"stem": 112, "layer1": 56, "layer2": 28, "layer3": 14, "layer4": 7}),
        ("resnet50", {"stem": 112, "layer1": 56, "layer2": 28, "layer3": 14, "layer4": 7}),
    ],
)
def test_sides_at_224_px_are_those_of_the_papers(name: str, sides: dict[str, int]) -> None:
    with torch.device("meta"):
        encoder = _encoder(name).eval()
        maps = encoder.layers(torch.empty(1, 3, 224, 224))
    assert {layer: maps[layer].shape[2] for layer in sides} == sides
    assert list(maps)[-1] == list(sides)[-1]


@pytest.mark.parametrize(
    ("name", "millions", "fused"),
    [
        # By hand, convolution weights in the order of the network.
        ("alexnet", 2.47, 64 * 3 * 121 + 192 * 64 * 25 + 256 * 256 * 9),
        ("vgg16", 14.71, 9 * (64 * 64 + 128 * 128 + 256 * 256 + 2 * 512 * 512)),
        ("vgg16_bn", 14.72, 9 * (64 * 64 + 128 * 128 + 256 * 256 + 2 * 512 * 512)),
        ("resnet50", 23.51, 64 * 3 * 49 + 256 * 64 + 512 * 128 + 1024 * 256 + 2048 * 512),
    ],
)
@pytest.mark.parametrize("which", ["conv_before_pool", "stage_last"])
def test_weights_are_as_many_as_counted(name: str, millions: float, fused: int, which: str) -> None:
    with torch.device("meta"):
        encoder = _encoder(name)
    assert round(sum(p.numel() for p in encoder.parameters()) / 1e6, 2) == millions
    convolutions = [encoder.get_submodule(convolution) for convolution in encoder.fusion_convolutions[which]]
    assert sum(convolution.weight.numel() for convolution in convolutions) == fused


@pytest.mark.parametrize(("name", "widths"), [("alexnet", (64, 192, 256)), ("vgg16_bn", (64, 128, 256, 512, 512))])
def test_fusion_takes_the_convolutions_before_pooling(name: str, widths: tuple[int, ...]) -> None:
    with torch.device("meta"):
        encoder = _encoder(name)
    features = list(encoder.get_submodule("features"))
    for convolution, width in zip(encoder.fusion_convolutions["conv_before_pool"], widths, strict=True):
        after = features[int(convolution.removeprefix("features.")) + 1 :]
        kinds = [type(module) for module in after if isinstance(module, nn.Conv2d | nn.MaxPool2d)]
        assert kinds[0] is nn.MaxPool2d
        assert encoder.get_submodule(convolution).out_channels == width


@pytest.mark.parametrize("name", ["resnet8", "resnet26", "cifar_resnet", "resnet18", "resnet50"])
def test_fusion_takes_the_stem_and_the_last_convolution_of_each_stage(name: str) -> None:
    with torch.device("meta"):
        encoder = registry.load("encoder", name)(registry.parts("encoder")[name].options(name=name))
    stages: dict[str, str] = {}
    for path, module in encoder.named_modules():
        if isinstance(module, nn.Conv2d) and "downsample" not in path:
            stages[path.partition(".")[0]] = path  # the last of the stage stays
    assert encoder.fusion_convolutions["conv_before_pool"] == tuple(stages.values())
    assert encoder.fusion_convolutions["stage_last"] == tuple(stages.values())


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("alexnet", ("conv1", "conv2", "conv4", "conv5")),
        ("vgg16", ("conv2_2", "conv3_3", "conv4_3", "conv5_3")),
        ("resnet50", ("layer1", "layer2", "layer3", "layer4")),
        ("resnet26", ("stem", "stage1", "stage2", "stage3")),
    ],
)
def test_pairs_across_stages_are_neighbours_of_these_points(name: str, points: tuple[str, ...]) -> None:
    with torch.device("meta"):
        encoder = registry.load("encoder", name)(registry.parts("encoder")[name].options(name=name))
    assert tuple(encoder.stage_pairs["across_stage"]) == tuple(itertools.pairwise(points))


@pytest.mark.parametrize(("width", "share"), [("half", 2), ("quarter", 4)])
def test_a_narrower_vgg16_has_a_share_of_the_kernels(width: str, share: int) -> None:
    narrow, full = (VGG16(VGG16Options.model_validate({"width": w})) for w in (width, "full"))
    assert narrow.layer_channels == {name: channels // share for name, channels in full.layer_channels.items()}
    assert narrow.state_dict().keys() == full.state_dict().keys()
    assert narrow.fusion_convolutions == full.fusion_convolutions
    for module in narrow.features:
        if isinstance(module, nn.Conv2d):  # normal with variance 2 / outputs, as the full one
            assert_close(module.weight.std().item(), (2 / (9 * module.out_channels)) ** 0.5, rtol=0.1, atol=0)
    assert narrow(torch.randn(1, 3, 32, 32)).shape == (1, 512 // share, 1, 1)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("alexnet", {"conv1": 74, "conv2": 37, "conv5": 18, "pool5": 9}),
        ("vgg16", {"conv3_3": 75, "conv4_3": 38, "conv5_1.pooled": 10, "conv5_3": 19, "pool5": 10}),
        ("resnet50", {"layer2": 38, "layer3": 19, "layer4": 10}),
    ],
)
def test_covering_maps_are_pooled_in_ceil_mode(name: str, sides: dict[str, int]) -> None:
    with torch.device("meta"):
        maps = _encoder(name).eval().covering_maps(torch.empty(1, 3, 300, 300), sides)
    assert {layer: found.shape[2] for layer, found in maps.items()} == sides


@torch.no_grad()
@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_covering_maps_are_those_of_torchvisions_layers_in_ceil_mode(name: str) -> None:
    encoder = _encoder(name).eval()
    images, last = torch.randn(1, 3, 75, 75), list(encoder.layer_channels)[-1]
    expected = images
    for module in encoder.get_submodule("features"):
        theirs = copy.deepcopy(module)
        if isinstance(theirs, nn.MaxPool2d):
            theirs.ceil_mode = True
        expected = theirs(expected)
    assert_close(encoder.covering_maps(images, [last])[last], expected, rtol=0, atol=0)
    assert encoder(images).shape != expected.shape


@pytest.mark.parametrize(("name", "layer"), [("alexnet", "conv5"), ("vgg16", "conv5_3"), ("resnet50", "layer4")])
def test_the_last_map_before_pooling(name: str, layer: str) -> None:
    with torch.device("meta"):
        assert _encoder(name).last_unpooled == layer


@torch.no_grad()
@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_convolutions_are_seen_after_their_activation(name: str) -> None:
    encoder = _encoder(name).eval()
    images = torch.randn(1, 3, 64, 64)
    maps, features = encoder.layers(images), encoder.get_submodule("features")
    last, found = images, []
    for module in features:
        last = module(last)
        if isinstance(module, nn.ReLU):
            found.append(last)
    for ours, theirs in zip([*maps.values()][:-1], found, strict=True):
        assert_close(ours, theirs, rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "units"),
    [("alexnet", ("conv3.pooled", "conv4.pooled", "pool5")), ("vgg16", ("conv5_1.pooled", "conv5_2.pooled", "pool5"))],
)
def test_units_of_plain_networks_are_pooled_as_z_is(name: str, units: tuple[str, ...]) -> None:
    encoder = _encoder(name).eval()
    assert encoder.unit_layers == units
    names = [unit.removesuffix(".pooled") for unit in units[:-1]]
    maps = encoder.maps(torch.randn(1, 3, 96, 96), [*names, *units])
    pooling = encoder.get_submodule("features")[-1]
    for layer, unit in zip(names, units[:-1], strict=True):
        assert maps[layer].shape[2] > maps[unit].shape[2]
        assert_close(maps[unit], pooling(maps[layer]), rtol=0, atol=0)


@torch.no_grad()
def test_units_of_resnet50_are_its_last_blocks() -> None:
    encoder = ResNet50(ResNet50Options()).eval()
    assert encoder.unit_layers == ("layer4.unit1", "layer4.unit2", "layer4")
    maps = encoder.maps(torch.randn(1, 3, 64, 64), ["layer3", *encoder.unit_layers])
    last = maps["layer3"]
    for block, unit in zip(encoder.layer4, encoder.unit_layers, strict=True):
        last = block(last)
        assert_close(maps[unit], last, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (2, 1), (2, 2), (5, 4)])
def test_halving_convolution_is_a_convolution(dtype: torch.dtype, size: tuple[int, int]) -> None:
    theirs = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False).double()
    ours = copy.deepcopy(theirs).to(dtype)
    guard_halving(ours)
    assert type(ours) is HalvingConvolution
    images = torch.randn(8, 16, *size, dtype=torch.float64)
    expected, found = theirs(images), ours(images.to(dtype))
    tolerance = {} if dtype == torch.float64 else {"rtol": 0.05, "atol": 0.05}
    assert_close(found.double(), expected, **tolerance)
    dirty = [torch.full_like(ours.weight, 1e30) for _ in range(8)]
    del dirty  # what a kernel does not write, it finds as this left it
    expected.square().mean().backward()
    found.square().mean().backward()
    assert_close(ours.weight.grad.double(), theirs.weight.grad, **tolerance)


@torch.no_grad()
def test_a_map_smaller_than_the_window_is_not_pooled() -> None:
    encoder = AlexNet(AlexNetOptions(stride=2)).eval()
    maps = encoder.maps(torch.randn(1, 3, 32, 32), ["conv2", "pool2", "conv5", "pool5"])
    assert maps["pool2"].shape[2:] == (2, 2)
    assert_close(maps["pool5"], maps["conv5"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("encoder", "options", "side"),
    [
        (AlexNet, AlexNetOptions(stride=2), 2),
        (AlexNet, AlexNetOptions(stride=1), 6),
        (ResNet50, ResNet50Options(stem_stride=1), 4),
        (ResNet50, ResNet50Options(stem_pool=False), 4),
        (ResNet50, ResNet50Options(stem_stride=1, stem_pool=False), 8),
        (VGG16, VGG16Options(batch_norm=True), 2),
    ],
)
def test_options_are_honoured(encoder: type[Encoder], options: registry.Options, side: int) -> None:
    with torch.device("meta"):
        built = encoder(options)  # type: ignore[call-arg]
        z = built(torch.empty(2, 3, 64, 64))
    assert z.shape[2:] == (side, side)
    assert built.options is options
    with torch.device("meta"):
        model = getattr(torchvision.models, "vgg16_bn" if encoder is VGG16 else options.name)(weights=None)
    shapes = {key: values.shape for key, values in model.state_dict().items()}
    assert all(shapes[key] == values.shape for key, values in built.state_dict().items())


@torch.no_grad()
def test_dilated_resnet50_is_torchvision_s_and_no_weight_changes_its_shape() -> None:
    encoder = ResNet50(ResNet50Options(dilate=True))
    encoder(torch.randn(2, 3, 64, 64))
    with torch.device("meta"):
        model = torchvision.models.resnet50(weights=None, replace_stride_with_dilation=[False, True, True])
        plain = ResNet50(ResNet50Options())
    missing, unexpected = model.load_state_dict(encoder.eval().state_dict(), strict=False, assign=True)
    assert (missing, unexpected) == (["fc.weight", "fc.bias"], [])
    images = torch.randn(1, 3, 64, 72)
    z = encoder(images)
    assert_close(z, _features(model.eval(), images), rtol=0, atol=0)
    assert z.shape == (1, 2048, 8, 9)
    assert {key: values.shape for key, values in plain.state_dict().items()} == {
        key: values.shape for key, values in encoder.state_dict().items()
    }


def test_images_below_the_limit_of_alexnet_do_not_pass() -> None:
    with torch.device("meta"):
        encoder = AlexNet(AlexNetOptions())
        with pytest.raises(RuntimeError, match="Kernel size"):
            encoder(torch.empty(1, 3, 6, 6))


def test_a_seed_means_the_weights_of_torchvision() -> None:
    torch.manual_seed(3)
    ours = ResNet50(ResNet50Options()).state_dict()
    torch.manual_seed(3)
    theirs = torchvision.models.resnet50(weights=None).state_dict()
    assert_close(ours, {key: theirs[key] for key in ours}, rtol=0, atol=0)


def test_weights_of_plain_networks_start_as_in_torchvision() -> None:
    # torch's own start is uniform within 1 / sqrt(inputs); VGG's is normal with variance 2 / outputs, biases zero.
    for module in AlexNet(AlexNetOptions()).features:
        if isinstance(module, nn.Conv2d):
            bound = module.weight[0].numel() ** -0.5
            assert bound * 0.99 < module.weight.abs().max() <= bound
            assert 0 < module.bias.abs().max() <= bound  # type: ignore[union-attr]
    for module in VGG16(VGG16Options(batch_norm=True)).features:
        if isinstance(module, nn.Conv2d):
            assert_close(module.weight.std().item(), (2 / (9 * module.out_channels)) ** 0.5, rtol=0.05, atol=0)
            assert not module.bias.any()  # type: ignore[union-attr]
        elif isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert torch.equal(module.running_var, torch.ones_like(module.weight))  # type: ignore[arg-type]
