"""Networks of timm as encoders: its own maps, walked stage by stage, and what is refused before any job."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from tessera import registry
from tessera.data.normalization import Normalization
from tessera.models.encoders import options as options_page
from tessera.models.encoders.options import TimmOptions
from tessera.models.networks.build import build_network
from tessera.models.networks.options import ClassifierOptions
from tessera.models.store import load_encoder, save_encoder

DEVICE = torch.device("cpu")


@pytest.fixture
def timm() -> Any:
    return pytest.importorskip("timm")


def _encoder(model: str) -> Any:
    torch.manual_seed(0)
    return registry.load("encoder", "timm")(TimmOptions(model=model)).eval()


def _clashes(model: str, px: int = 32) -> list[str]:
    dataset = SimpleNamespace(shape=lambda: (px, px))
    return list(TimmOptions(model=model).clashes(SimpleNamespace(dataset=dataset)))


def test_without_the_package_a_study_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options_page, "find_spec", lambda name: None)
    options_page._of_timm.cache_clear()
    try:
        (line,) = _clashes("resnet18")
        options = TimmOptions(model="resnet18")
        assert (options.smallest_px, options.has_batch_norm) == (4, True)  # others ask before anything is refused
    finally:
        options_page._of_timm.cache_clear()
    assert line.startswith("encoder `timm` needs the package timm, which is not installed: pip install -e '.[timm]'")
    assert "\n" not in line


@pytest.mark.parametrize("model", ["hf-hub:timm/resnet18", "local-dir:/tmp/resnet18", "../resnet18", ""])
def test_a_source_of_files_is_no_model(model: str) -> None:
    with pytest.raises(ValidationError, match="String should match pattern"):
        TimmOptions(model=model)


@torch.no_grad()
@pytest.mark.parametrize("model", ["resnet10t", "mobilenetv3_small_050", "convnext_atto", "hrnet_w18_small"])
def test_maps_are_those_of_timm(timm: Any, model: str) -> None:
    encoder, images = _encoder(model), torch.randn(2, 3, 64, 96)
    torch.manual_seed(0)
    theirs = timm.create_model(model, pretrained=False, features_only=True).eval()
    maps = encoder.layers(images)
    assert list(maps) == [name.replace(".", "_") for name in theirs.feature_info.module_name()]
    assert {name: found.shape[1] for name, found in maps.items()} == encoder.layer_channels
    for ours, expected in zip(maps.values(), theirs(images), strict=True):
        assert_close(ours, expected, rtol=0, atol=0)
    last, kept = images, dict[str, Any]()
    for name, stage in encoder.stages():
        last = stage(last, kept)
        assert_close(last, maps[name], rtol=0, atol=0)
    assert name == list(maps)[-1]
    assert len(encoder.stages()) == (len(maps) if model in ("resnet10t", "convnext_atto") else 1)


def test_the_last_convolution_before_each_map_is_found(timm: Any) -> None:
    encoder = _encoder("resnet18")
    assert encoder.fusion_convolutions["stage_last"] == (
        "network.conv1", *(f"network.layer{stage}.1.conv2" for stage in (1, 2, 3, 4))
    )  # fmt: skip
    assert encoder.last_layer is encoder.network.layer4[1].conv2
    # One block a stage, where a shortcut's convolution comes last of all; standardised weights, made in each pass.
    assert _encoder("resnet10t").fusion_convolutions["stage_last"][1:] == tuple(
        f"network.layer{stage}.0.conv2" for stage in (1, 2, 3, 4)
    )
    assert _encoder("resnetv2_50t").last_layer.kernel_size == (1, 1)


@torch.no_grad()
def test_a_model_is_a_student_and_is_kept_and_read_again(timm: Any, tmp_path: Path) -> None:
    options = TimmOptions(model="resnet10t")
    network = build_network(ClassifierOptions(encoder=options), num_classes=7, image_size=32)
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 7)
    assert [len(pairs) for pairs in network.stage_pairs.values()] == [3]
    save_encoder(network.encoder, options, Normalization((0.5,) * 3, (0.2,) * 3), tmp_path)
    stored, images = load_encoder(tmp_path, DEVICE), torch.randn(2, 3, 32, 32)
    assert stored.options == options
    assert_close(stored.encoder(images), network.eval().encoder(images))


@pytest.mark.parametrize(
    ("model", "smallest", "normed"), [("resnet18", 8, True), ("convnext_atto", 32, False), ("inception_v3", 128, True)]
)
def test_options_know_what_a_model_takes(timm: Any, model: str, smallest: int, normed: bool) -> None:
    options = TimmOptions(model=model)
    assert (options.smallest_px, options.has_batch_norm) == (smallest, normed)
    assert _clashes(model, px=smallest) == []


@pytest.mark.parametrize(
    ("model", "px", "line"),
    [
        ("resnet_18", 32, "has no model `resnet_18`. Nearest: `resnet18`"),
        ("vit_tiny_patch16_224", 224, "`vit_tiny_patch16_224` takes images of 224 x 224 px alone (Input height"),
        ("swin_tiny_patch4_window7_224", 224, "makes no feature maps (N, C, H, W)"),
        ("inception_v3", 64, "`inception_v3` of timm takes no images of 64 x 64 px (Calculated padded input size"),
    ],
)
def test_what_gives_no_feature_maps_is_refused_in_one_line(timm: Any, model: str, px: int, line: str) -> None:
    (found,) = _clashes(model, px)
    assert line in found
    assert "\n" not in found


def test_no_file_is_fetched(timm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*arguments: Any) -> None:
        raise AssertionError("asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert _encoder("resnet18.a1_in1k").num_features == 512
