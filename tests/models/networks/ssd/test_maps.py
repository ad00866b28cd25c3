"""The network: its maps, default boxes and weights, beside torchvision's on VGG-16 and by hand."""

import math
from collections.abc import Sequence

import pytest
import torch
from ssd_making import network_of, random_objects
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD, ssd300_vgg16

from encoders import BY_NAME
from tessera import registry
from tessera.errors import StudyError
from tessera.models.encoders.base import Encoder
from tessera.models.networks.options import SSD300Options
from tessera.models.networks.ssd import SSD300, default_box_generator
from tessera.models.networks.ssd_maps import Grid


@pytest.fixture(scope="module")
def vgg() -> tuple[SSD300, SSD]:
    """Ours on VGG-16 at 300 px, and torchvision's network with our weights, by their order in the network."""
    torch.manual_seed(0)
    ours = network_of("vgg16", 300, num_classes=4).eval()
    with torch.device("meta"):  # the classifier that it makes and drops is most of its time
        theirs = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=5).eval()
    with torch.no_grad():
        ours.pyramid.scale.uniform_(10, 30)
    names = [name for name in theirs.backbone.state_dict() if name != "scale_weight"]
    own = [*ours.encoder.state_dict().values(), *(v for k, v in ours.pyramid.state_dict().items() if k != "scale")]
    weights = dict(zip(names, own, strict=True)) | {"scale_weight": ours.pyramid.scale}
    theirs.backbone.load_state_dict(weights, assign=True)
    theirs.head = ours.head
    return ours, theirs


@torch.no_grad()
def test_on_vgg16_at_300_px_it_is_the_network_of_torchvision(vgg: tuple[SSD300, SSD]) -> None:
    ours, theirs = vgg
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    images = torch.randn(1, 3, 300, 300)
    expected = theirs.head(list(theirs.backbone(images).values()))
    logits, codes = ours.predict(images)
    assert logits.shape == (1, 8732, 5)
    assert_close(logits, expected["cls_logits"], rtol=0, atol=0)
    assert_close(codes, expected["bbox_regression"], rtol=0, atol=0)


def test_default_boxes_are_those_of_torchvision_with_the_sizes_of_voc(vgg: tuple[SSD300, SSD]) -> None:
    ours, theirs = vgg
    own = default_box_generator(ours.pyramid.grids, 300)
    assert [round(300 * scale) for scale in own.scales] == [30, 60, 111, 162, 213, 264, 315]
    assert own.aspect_ratios == theirs.anchor_generator.aspect_ratios
    assert own.steps == theirs.anchor_generator.steps
    assert own.clip
    assert [grid.side for grid in ours.pyramid.grids] == [38, 19, 10, 5, 3, 1]
    images = ImageList(torch.empty(1, 3, 300, 300), [(300, 300)])
    theirs.anchor_generator.scales, theirs.anchor_generator._wh_pairs = own.scales, own._wh_pairs
    expected = theirs.anchor_generator(images, [torch.empty(1, 1, g.side, g.side) for g in ours.pyramid.grids])[0]
    assert_close(ours.default_boxes, expected, rtol=0, atol=0)


def test_default_boxes_of_one_cell_by_hand(vgg: tuple[SSD300, SSD]) -> None:
    # The third map's cell in row 2 and column 7, after the 38 x 38 x 4 and the 19 x 19 x 6 boxes of the maps before.
    first = 38 * 38 * 4 + 19 * 19 * 6 + (2 * 10 + 7) * 6
    x, y, between = 7.5 * 32, 2.5 * 32, math.sqrt(111 * 162)
    two, three = math.sqrt(2), math.sqrt(3)
    sizes = [(111, 111), (between, between), (111 * two, 111 / two), (111 / two, 111 * two)]
    sizes += [(111 * three, 111 / three), (111 / three, 111 * three)]
    by_hand = torch.tensor([[x - w / 2, y - h / 2, x + w / 2, y + h / 2] for w, h in sizes])
    assert_close(vgg[0].default_boxes[first : first + 6], by_hand, rtol=1e-5, atol=1e-4)
    # The last map's one cell: boxes of 264 px, those that are longer than the image cut to its side.
    long, short = 300.0, 264 / two
    ends = [(264, 264), (math.sqrt(264 * 315), math.sqrt(264 * 315)), (long, short), (short, long)]
    by_hand = torch.tensor([[150 - w / 2, 150 - h / 2, 150 + w / 2, 150 + h / 2] for w, h in ends])
    assert_close(vgg[0].default_boxes[-4:], by_hand, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "image_size", "channels", "sides", "steps"),
    [
        ("vgg16", {}, 128, [512, 1024, 512, 256, 256], [16, 8, 4, 2, 1], [8, 16, 32, 64, 128]),
        ("vgg16", {"width": "half"}, 96, [256, 512, 256, 128], [12, 6, 3, 1], [8, 16, 32, 96]),
        # Ceil mode of every pooling layer: 100, 50, 25, 13, 7 cells.
        ("vgg16", {"batch_norm": True}, 100, [512, 1024, 512, 256, 256], [13, 7, 4, 2, 1], [8, 16, 32, 64, 100]),
        # Its maps do not cover the image from border to border, and are spread over it.
        ("alexnet", {}, 200, [192, 512, 256, 128, 128], [24, 12, 6, 3, 1], [200 / 24, 200 / 12, 200 / 6, 200 / 3, 200]),
        ("resnet8", {}, 300, [128, 512, 256, 128, 128, 128], [38, 19, 10, 5, 3, 1], [8, 16, 32, 64, 100, 300]),
        ("resnet26", {}, 128, [128, 512, 256, 128, 128], [16, 8, 4, 2, 1], [8, 16, 32, 64, 128]),
        ("resnet50", {}, 300, [512, 1024, 2048, 512, 256, 256], [38, 19, 10, 5, 3, 1], [8, 16, 32, 64, 100, 300]),
        ("resnet50", {"stem_pool": False}, 128, [1024, 1024, 512, 256, 256], [16, 8, 4, 2, 1], [8, 16, 32, 64, 128]),
    ],
)  # fmt: skip
def test_maps_of_every_encoder(
    name: str, options: dict[str, object], image_size: int, channels: list[int], sides: list[int], steps: list[float]
) -> None:
    with torch.device("meta"):
        network = network_of(name, image_size, options=options).eval()
        maps = network.pyramid(
            network.encoder.covering_maps(torch.empty(2, 3, image_size, image_size), network.pyramid.names)
        )
    grids = network.pyramid.grids
    assert [grid.channels for grid in grids] == channels
    assert [grid.side for grid in grids] == sides
    assert [tuple(found.shape) for found in maps] == [(2, c, s, s) for c, s in zip(channels, sides, strict=True)]
    assert default_box_generator(grids, image_size).steps == pytest.approx(steps)


@pytest.mark.parametrize(
    ("name", "image_size"),
    [
        *((name, 50) for name in BY_NAME if registry.find("encoder", name).options.narrows),  # type: ignore[attr-defined]
        ("alexnet", 32),
        ("resnet8", 32),
    ],
)
def test_every_encoder_detects_and_learns_in_small_images(name: str, image_size: int) -> None:
    network = network_of(name, image_size)
    images = torch.randn(2, 3, image_size, image_size)
    objects = [random_objects(2, image_size, 3), random_objects(1, image_size, 3)]
    losses = network.losses(images, objects)
    ((losses["localization"] + losses["classification"]) / losses["positives"]).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []
    still = [n for n, p in network.encoder.named_parameters() if not p.grad.any()]  # type: ignore[union-attr]
    assert still == []
    found = network.eval().detect(images)
    assert len(found) == 2
    assert all(box.min() >= 0 and box.max() <= image_size for box in (f.boxes for f in found) if len(box))


def test_batch_norm_follows_the_encoder_but_not_to_one_cell() -> None:
    with torch.device("meta"):
        plain = network_of("vgg16").pyramid
        normed = network_of("vgg16", options={"batch_norm": True}).pyramid
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plain.modules())
    bare = [m for m in normed.modules() if isinstance(m, nn.Conv2d) and m.bias is not None]
    convolutions = [m for m in normed.modules() if isinstance(m, nn.Conv2d)]
    assert bare == convolutions[-1:]  # a lone image has a lone value a channel there
    assert sum(isinstance(m, nn.BatchNorm2d) for m in normed.modules()) == len(convolutions) - 1


def test_weights_that_are_not_the_encoders_start_as_glorot_and_bengio() -> None:
    network = network_of("alexnet", 128)
    for module in (*network.pyramid.modules(), *network.head.modules()):
        if isinstance(module, nn.Conv2d):
            inputs, outputs = module.weight[0].numel(), module.weight.shape[0] * module.weight[0, 0].numel()
            bound = math.sqrt(6 / (inputs + outputs))
            assert 0.98 * bound < module.weight.abs().max() <= bound
            assert module.bias is not None
            assert not module.bias.any()
    assert torch.equal(network.pyramid.scale, torch.full((192,), 20.0))


def test_the_first_map_has_the_length_of_its_scale() -> None:
    network = network_of("alexnet", 96).eval()
    with torch.no_grad():
        network.pyramid.scale.fill_(7.0)
        maps = network.encoder.covering_maps(torch.randn(1, 3, 96, 96), network.pyramid.names)
        first = network.pyramid(maps)[0]
    length = torch.linalg.vector_norm(first, dim=1)
    assert_close(length, torch.full_like(length, 7.0))


def test_the_encoder_is_kept_with_its_names_and_maps() -> None:
    network = network_of("resnet8")
    names = {name.removeprefix("encoder.") for name in network.state_dict() if name.startswith("encoder.")}
    assert names == set(network.encoder.state_dict())
    assert "default_boxes" not in network.state_dict()
    images = torch.randn(1, 3, 16, 16)
    network.eval()
    assert_close(network.layers(images), network.encoder.layers(images))
    assert_close(network.maps(images, ["stage1.first"]), network.encoder.maps(images, ["stage1.first"]))
    assert network.stage_pairs == network.encoder.stage_pairs
    assert network.layer_channels == network.encoder.layer_channels


class Skips(Encoder):
    """From stride 4 to stride 16 at once."""

    def __init__(self, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.strides = strides
        self.layer_channels = {f"map{stride}": 3 for stride in strides}

    def layers(self, images: Tensor) -> dict[str, Tensor]:
        return {f"map{stride}": nn.functional.avg_pool2d(images, stride) for stride in self.strides}

    @property
    def stage_pairs(self) -> dict[str, Sequence[tuple[str, str]]]:
        return {}


@pytest.mark.parametrize(
    ("strides", "message"),
    [
        ((4, 16), "reads maps of stride 8, 16, but the encoder has none of stride 8, only of 4, 16"),
        ((32,), "reads maps of stride 8, 16, 32, but the encoder has none of stride 8, only of 32"),
        ((8, 32), "reads maps of stride 8, 16, 32, but the encoder has none of stride 16, only of 8, 32"),
    ],
)
def test_an_encoder_without_a_map_that_it_needs_is_refused(strides: tuple[int, ...], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        SSD300(SSD300Options(image_size=64), Skips(strides), 3)


def test_an_encoder_of_ones_own_needs_only_named_maps() -> None:
    grids = SSD300(SSD300Options(image_size=64), Skips((2, 8, 16)), 3).pyramid.grids
    assert grids[:2] == [Grid(3, 8, 8), Grid(6, 4, 16)]
