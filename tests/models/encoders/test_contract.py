"""What every encoder keeps."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tessera import registry
from tessera.errors import StudyError
from tessera.models.encoders.base import Encoder
from tessera.models.encoders.options import EncoderOptions, ResNet8Options, TimmOptions, VGG16Options
from tessera.models.networks.build import build_network
from tessera.multitask.batch_norm import batch_norms, reestimate_statistics
from tessera.multitask.fusion.states import layer_parameters
from tessera.training.compute import Compute

SMALL: dict[str, dict[str, Any]] = {"segnet": {"width": "eighth"}, "timm": {"model": "resnet10t"}, "vgg": {"depth": 8}}
# Forms of a part that its defaults are not.
FORMS: dict[str, dict[str, Any]] = {"resnet18 7x7": {"name": "resnet18", "stem": "7x7"}}


@pytest.fixture(scope="module", params=sorted([*registry.parts("encoder"), *FORMS]))
def encoder(request: pytest.FixtureRequest) -> Encoder:
    """Built once; every test leaves its weights as they are."""
    torch.manual_seed(0)
    if request.param == "timm":
        pytest.importorskip("timm")
    form = FORMS.get(request.param, {"name": request.param, **SMALL.get(request.param, {})})
    options = registry.parts("encoder")[form["name"]].options.model_validate(form)
    built: Encoder = registry.load("encoder", form["name"])(options)
    if request.param == "timm":
        for layer in batch_norms(built):
            nn.init.ones_(layer.weight)  # the last one of a block starts at 0, behind which no gradient arrives
    return built.eval()


def _channels(encoder: Encoder) -> dict[str, int]:
    return {**encoder.layer_channels, **encoder.inner_channels}


@torch.no_grad()
def test_layers_have_the_names_and_channels_they_claim(encoder: Encoder) -> None:
    maps = encoder.layers(torch.randn(2, 3, 32, 32))
    assert {name: found.shape[1] for name, found in maps.items()} == encoder.layer_channels
    assert list(maps) == list(encoder.layer_channels)
    sides = [found.shape[2] for found in maps.values()]
    bottom = sides.index(min(sides))  # a decoder may lead up again
    assert sides[:bottom] == sorted(sides[:bottom], reverse=True)
    assert sides[bottom:] == sorted(sides[bottom:])


@torch.no_grad()
def test_forward_is_the_last_layer(encoder: Encoder) -> None:
    images = torch.randn(2, 3, 16, 16)
    z = encoder(images)
    assert z.shape[1] == encoder.num_features
    assert_close(z, encoder.layers(images)[list(encoder.layer_channels)[-1]], rtol=0, atol=0)


@torch.no_grad()
def test_maps_are_those_asked_for_in_the_order_asked(encoder: Encoder) -> None:
    images, names = torch.randn(2, 3, 17, 17), list(_channels(encoder))[::-1]
    maps = encoder.maps(images, names)
    assert list(maps) == names
    assert {name: found.shape[1] for name, found in maps.items()} == _channels(encoder)
    first, middle = names[-1], names[len(names) // 2]
    assert_close(encoder.maps(images, [middle, first]), {name: maps[name] for name in (middle, first)})


@torch.no_grad()
def test_maps_do_not_change_after_they_are_made(encoder: Encoder) -> None:
    images = torch.randn(1, 3, 16, 16)
    together = encoder.maps(images, _channels(encoder))
    for name, found in encoder.layers(images).items():
        assert_close(encoder.maps(images, [name])[name], found, rtol=0, atol=0)
        assert_close(together[name], found, rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (17, 43)])
def test_stages_in_turn_give_z_and_are_named_after_their_maps(encoder: Encoder, size: tuple[int, int]) -> None:
    images, stages = torch.randn(2, 3, *size), encoder.stages()
    assert len(stages) > 1
    assert stages[-1][0] == list(encoder.layer_channels)[-1]
    maps = encoder.maps(images, [name for name, _ in stages])
    made, kept = images, dict[str, Any]()
    for name, stage in stages:
        made = stage(made, kept)
        assert torch.equal(made, maps[name])
    assert torch.equal(made, encoder(images))


@torch.no_grad()
@pytest.mark.parametrize("px", [17, 64])
def test_attention_points_are_pairs_of_one_size_and_end_with_z(encoder: Encoder, px: int) -> None:
    points = encoder.attention_points
    assert points[-1].last == list(encoder.layer_channels)[-1]
    assert len({point.last for point in points}) == len(points)
    maps = encoder.maps(torch.randn(2, 3, px, px), dict.fromkeys(name for p in points for name in (*p[:2], *p.through)))
    for point in points:
        assert maps[point.first].shape[2:] == maps[point.last].shape[2:]


@torch.no_grad()
@pytest.mark.parametrize("px", [8, 17, 32, 64])
def test_units_have_the_size_of_z_whatever_the_images(encoder: Encoder, px: int) -> None:
    maps = encoder.maps(torch.randn(2, 3, px, px), encoder.unit_layers)
    z = maps[encoder.unit_layers[-1]]
    assert encoder.unit_layers[-1] == list(encoder.layer_channels)[-1]
    assert len(set(encoder.unit_layers)) == len(encoder.unit_layers)
    for name, found in maps.items():
        assert found.shape == (2, _channels(encoder)[name], *z.shape[2:])
        assert torch.isfinite(found).all()
        assert found.std() > 0


@torch.no_grad()
def test_the_smallest_images_pass(encoder: Encoder) -> None:
    assert isinstance(encoder.options, EncoderOptions)
    smallest = encoder.options.smallest_px
    assert smallest <= 8  # a tile of a puzzle of 32 px
    assert encoder(torch.randn(1, 3, smallest, smallest + 3)).shape[1] == encoder.num_features


@torch.no_grad()
@pytest.mark.parametrize("pairs", ["across_stage", "within_stage"])
def test_every_pair_names_two_different_maps(encoder: Encoder, pairs: str) -> None:
    if pairs not in encoder.stage_pairs and isinstance(encoder.options, TimmOptions):
        return  # timm names no maps inside a stage
    names = [name for pair in encoder.stage_pairs[pairs] for name in pair]
    assert set(names) <= set(_channels(encoder))
    assert all(first != second for first, second in encoder.stage_pairs[pairs])
    maps = encoder.maps(torch.randn(2, 3, 64, 64), names)
    if pairs == "within_stage":
        assert all(maps[a].shape[2:] == maps[b].shape[2:] for a, b in encoder.stage_pairs[pairs])


def test_pairs_are_as_many_as_those_of_every_target_network(encoder: Encoder) -> None:
    for name, part in registry.parts("network").items():
        if part.options.answers != "class":  # type: ignore[attr-defined]
            continue
        with torch.device("meta"):
            options: Any = part.options(name=name)
            network = build_network(options.with_encoder(ResNet8Options()), num_classes=2, image_size=32)
        for which, pairs in network.stage_pairs.items():
            assert len(encoder.stage_pairs.get(which, pairs)) == len(pairs)


@pytest.mark.parametrize("which", ["conv_before_pool", "stage_last"])
def test_fusion_names_convolutions(encoder: Encoder, which: str) -> None:
    modules = dict(encoder.named_modules())
    assert all(isinstance(modules[name], nn.Conv2d) for name in encoder.fusion_convolutions[which])
    assert {name.rpartition(".")[0] for name in layer_parameters(encoder, which)} == {
        *encoder.fusion_convolutions[which]
    }


def test_gradient_reaches_every_parameter(encoder: Encoder) -> None:
    z = encoder(torch.randn(2, 3, 32, 32))
    (z * torch.randn_like(z)).sum().backward()
    without = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    encoder.zero_grad(set_to_none=True)
    assert without == []


@pytest.mark.parametrize("px", [8, pytest.param(32, marks=pytest.mark.slow)])
def test_bfloat16_and_channels_last_give_nearly_the_same(encoder: Encoder, px: int) -> None:
    images = torch.randn(4, 3, px, px).contiguous(memory_format=torch.channels_last)
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    values, gradients = [], []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            z = encoder(images)
        assert z.dtype == (torch.bfloat16 if enabled else torch.float32)
        # What a kernel does not write, it finds as this left it.
        dirty = [torch.full_like(p, 1e30, dtype=dtype) for p in encoder.parameters() for dtype in (z.dtype, p.dtype)]
        del dirty
        z.float().square().mean().backward()
        values.append(z.detach().float())
        gradients.append({name: p.grad for name, p in encoder.named_parameters()})
        encoder.zero_grad(set_to_none=True)
    # Of two maxima that are nearly equal the other one may be unpooled: elsewhere, that is.
    assert _distance(values[1], values[0]) < (0.25 if "up1" in encoder.inner_channels else 0.05)
    exact, rounded = gradients
    assert max(_distance(rounded[name], exact[name]) for name in exact) < 0.6  # ReLU flips; unwritten memory gives 1e30


def _distance(ours: Tensor | None, theirs: Tensor | None) -> float:
    """Of the whole, as a share of its length."""
    assert ours is not None
    assert theirs is not None
    return (torch.linalg.vector_norm(ours - theirs) / torch.linalg.vector_norm(theirs)).item()


def test_statistics_are_estimated_where_there_are_any(encoder: Encoder) -> None:
    batches = iter([torch.randn(4, 3, 16, 16)])
    before = {name: values.clone() for name, values in encoder.named_buffers()}
    reestimate_statistics(encoder, batches, Compute(torch.device("cpu"), "float32"))
    moved = {name for name, values in encoder.named_buffers() if not torch.equal(values, before[name])}
    assert {name.rpartition(".")[2] for name in moved} == (
        {"running_mean", "running_var", "num_batches_tracked"} if batch_norms(encoder) else set()
    )
    encoder.load_state_dict(before, strict=False)


def test_the_last_layer_ends_the_longest_chain_of_convolutions(encoder: Encoder) -> None:
    """As the graph of z has it: a shortcut's convolution may come last among the parameters, but skips what is deep."""
    z, lengths, ends = encoder(torch.randn(1, 3, 16, 16)), dict[Any, int](), dict[int, Any]()

    def length(node: Any) -> int:
        if node is None:
            return 0
        if node not in lengths:
            longest = max((length(before) for before, _ in node.next_functions), default=0)
            if node.name().startswith("ConvolutionBackward"):
                longest += 1
                ends[longest] = node.next_functions[1][0].variable
            lengths[node] = longest
        return lengths[node]

    last = encoder.last_layer
    assert isinstance(last, nn.Conv2d)
    assert ends[length(z.grad_fn)] is last.weight


def test_an_encoder_that_names_no_last_stage_says_so() -> None:
    encoder = registry.load("encoder", "resnet8")(ResNet8Options())
    encoder.fusion_convolutions = {}
    with pytest.raises(StudyError, match=r"ResNet8\.fusion_convolutions names no `stage_last`"):
        encoder.last_layer  # noqa: B018


def test_an_encoder_that_says_nothing_of_stages_and_attention_is_one_stage_and_looked_at_by_its_z() -> None:

    class Plain(Encoder):
        layer_channels = {"halved": 3, "flipped": 3}  # noqa: RUF012
        stage_pairs = {"across_stage": [("halved", "flipped")]}  # noqa: RUF012

        def layers(self, images: Tensor) -> dict[str, Tensor]:
            return {"halved": images / 2, "flipped": (images / 2).flip(3)}

    encoder, images = Plain(), torch.randn(2, 3, 16, 16)
    ((name, stage),) = encoder.stages()
    assert name == "flipped"
    assert torch.equal(stage(images, {}), encoder(images))
    assert encoder.attention_points == (("flipped", "flipped", ()),)


def test_options_know_whether_there_are_batch_norms(encoder: Encoder) -> None:
    assert isinstance(encoder.options, EncoderOptions)
    assert encoder.options.has_batch_norm == bool(batch_norms(encoder))
    assert VGG16Options(batch_norm=True).has_batch_norm
