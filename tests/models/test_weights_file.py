"""Files of weights that other code wrote: read without running anything, fitted by name, refused in one line."""

import itertools
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.testing import assert_close

from tessera import registry
from tessera.data.normalization import Normalization
from tessera.errors import StudyError
from tessera.models.encoders.base import Encoder
from tessera.models.encoders.cifar_resnet import ResNet8
from tessera.models.encoders.options import ResNet8Options
from tessera.models.store import save_encoder
from tessera.models.weights_file import classifier_in, read_weights, take_weights


def _encoder(name: str, **options: Any) -> Encoder:
    built: Encoder = registry.load("encoder", name)(
        registry.parts("encoder")[name].options.model_validate({"name": name, **options})
    )
    return built


def _trained() -> ResNet8:
    torch.manual_seed(1)
    encoder = ResNet8(ResNet8Options())
    encoder(torch.randn(4, 3, 16, 16))  # moves the batch-norm statistics
    return encoder.eval()


def _refusal(path: Path, encoder: Encoder | None = None, prefix: str | None = None) -> str:
    with pytest.raises(StudyError) as raised:
        take_weights(encoder or ResNet8(ResNet8Options()), read_weights(path).tensors, prefix, str(path))
    line = str(raised.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line


@torch.no_grad()
@pytest.mark.parametrize(
    ("model", "name", "options"),
    [
        ("resnet18", "resnet18", {"stem": "7x7"}),
        ("vgg11_bn", "vgg", {"depth": 11, "pools": 5}),
        pytest.param("resnet50", "resnet50", {}, marks=pytest.mark.slow),
        pytest.param("vgg16", "vgg16", {}, marks=pytest.mark.slow),
        pytest.param("vgg16_bn", "vgg16", {"batch_norm": True}, marks=pytest.mark.slow),
        pytest.param("alexnet", "alexnet", {}, marks=pytest.mark.slow),
    ],
)
def test_torchvisions_weights_give_torchvisions_features(
    model: str, name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    theirs = getattr(torchvision.models, model)(weights=None, num_classes=7)
    theirs(torch.randn(2, 3, 64, 64))
    torch.save(theirs.eval().state_dict(), tmp_path / "theirs.pth")
    encoder, images = _encoder(name, **options), torch.randn(2, 3, 64, 64)
    taken = take_weights(encoder, read_weights(tmp_path / "theirs.pth").tensors, None, "theirs.pth")
    assert taken.has_statistics
    assert all(name.startswith(("fc.", "classifier.")) for name in taken.left_over)
    last = theirs.features(images) if hasattr(theirs, "features") else None
    if last is None:
        last = nn.Sequential(*list(theirs.children())[:-2])(images)
    assert_close(encoder.eval()(images), last, rtol=0, atol=0)


@torch.no_grad()
def test_a_vgg_of_crd_has_a_module_for_each_block(tmp_path: Path) -> None:
    def layer(channels: int, kernels: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, kernels, 3, padding=1), nn.BatchNorm2d(kernels), nn.ReLU()]

    widths = [(3, 64), (64, 128), (128, 256, 256), (256, 512, 512), (512, 512, 512)]
    theirs = nn.Module()
    for number, block in enumerate(widths):
        layers = [module for pair in itertools.pairwise(block) for module in layer(*pair)]
        theirs.add_module(f"block{number}", nn.Sequential(*layers[:-1]))  # the last ReLU stands outside
    theirs.add_module("classifier", nn.Linear(512, 4))
    torch.save({"model": theirs.eval().state_dict()}, tmp_path / "vgg11.pth")
    encoder, images = _encoder("vgg", depth=11), torch.randn(2, 3, 32, 32)
    taken = take_weights(encoder, read_weights(tmp_path / "vgg11.pth").tensors, None, "vgg11.pth")
    assert sorted(taken.left_over) == ["classifier.bias", "classifier.weight"]
    expected = images
    for number in range(5):
        expected = torch.relu(theirs.get_submodule(f"block{number}")(expected))
        expected = nn.functional.max_pool2d(expected, 2) if number < 3 else expected
    assert_close(encoder.eval()(images), expected, rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("model", ["resnet10t", "convnext_atto", "mobilenetv3_small_050", "convmixer_768_32"])
def test_timms_weights_give_timms_features(model: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    whole = timm.create_model(model, pretrained=False, num_classes=5).eval()
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    encoder, images = _encoder("timm", model=model), torch.randn(2, 3, 64, 64)
    taken = take_weights(encoder, read_weights(tmp_path / "whole.safetensors").tensors, None, "whole")
    assert taken.left_over
    expected = whole.forward_intermediates(images, intermediates_only=True)[-1]
    assert_close(encoder.eval()(images), expected, rtol=1e-5, atol=1e-5)
    assert encoder.usual_normalization == (
        tuple(timm.models.get_pretrained_cfg(model).mean), tuple(timm.models.get_pretrained_cfg(model).std)
    )  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize(
    ("before", "prefix", "wrapped"),
    [
        ("", None, ()),
        ("module.", None, ()),
        ("module.encoder.", None, ("state_dict",)),
        ("backbone.", None, ("model",)),
        ("model.", None, ("net", "state_dict")),
        ("module.encoder_q.", "module.encoder_q.", ("state_dict",)),
    ],
)
def test_what_stands_before_the_names_is_taken_off(
    before: str, prefix: str | None, wrapped: tuple[str, ...], tmp_path: Path
) -> None:
    trained = _trained()
    content: dict[str, Any] = {f"{before}{name}": values for name, values in trained.state_dict().items()}
    content |= {
        f"{before}fc.weight": torch.randn(7, 64),
        "elsewhere.weight" if before else "head.weight": torch.ones(3),
    }
    for entry in wrapped:
        content = {"epoch": 3, entry: content, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}}
    torch.save(content, tmp_path / "file.pt")
    encoder, images = ResNet8(ResNet8Options()).eval(), torch.randn(2, 3, 16, 16)
    taken = take_weights(encoder, read_weights(tmp_path / "file.pt").tensors, prefix, "file.pt")
    assert set(taken.left_over) == {"fc.weight", "elsewhere.weight" if before else "head.weight"}
    assert_close(encoder(images), trained(images), rtol=0, atol=0)


def test_what_tessera_saved_comes_with_its_normalization(tmp_path: Path) -> None:
    trained = _trained()
    save_encoder(trained, ResNet8Options(), Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)), tmp_path)
    file = read_weights(tmp_path / "encoder.safetensors")
    assert (file.about["mean"], file.about["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    encoder = ResNet8(ResNet8Options())
    assert take_weights(encoder, file.tensors, None, "encoder").left_over == {}
    assert_close(encoder.state_dict(), trained.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    trained = _trained()
    state = {name: v.to(dtype) if v.is_floating_point() else v for name, v in trained.state_dict().items()}
    save_file(state, tmp_path / "half.safetensors")
    encoder = ResNet8(ResNet8Options())
    take_weights(encoder, read_weights(tmp_path / "half.safetensors").tensors, None, "half")
    for name, values in encoder.state_dict().items():
        assert values.dtype == trained.state_dict()[name].dtype
        assert_close(values, state[name].to(values.dtype), rtol=0, atol=0)


def test_statistics_may_be_missing_and_then_stay_as_they_are() -> None:
    state = {name: v for name, v in _trained().state_dict().items() if "running" not in name and "num_" not in name}
    encoder = ResNet8(ResNet8Options())
    assert not take_weights(encoder, state, None, "file").has_statistics
    assert torch.equal(encoder.bn1.running_mean, torch.zeros(16))
    assert_close(encoder.conv1.weight, state["conv1.weight"], rtol=0, atol=0)


def test_a_file_of_another_network_is_refused_by_the_first_three_names_that_differ(tmp_path: Path) -> None:
    state = _encoder("resnet26").state_dict()
    torch.save(state, tmp_path / "resnet26.pt")
    line = _refusal(tmp_path / "resnet26.pt")
    # Nothing is missing, but the other network has more blocks: without a word, a part of it would be taken.
    assert re.search(
        r"does not fit encoder `resnet8`: \d+ names differ, first `layer1\.1\.conv1\.weight` is no part", line
    )
    assert line.count("is no part of the encoder") == 3
    torch.save({**_trained().state_dict(), "conv1.weight": torch.ones(16, 1, 3, 3)}, tmp_path / "gray.pt")
    assert "`resnet8`: `conv1.weight` is (16, 1, 3, 3), not (16, 3, 3, 3). Set" in _refusal(tmp_path / "gray.pt")
    less = {name: v for name, v in _trained().state_dict().items() if name not in ("conv1.weight", "bn1.bias")}
    torch.save(less, tmp_path / "less.pt")
    assert "`resnet8`: `conv1.weight` is missing; `bn1.bias` is missing. Set" in _refusal(tmp_path / "less.pt")
    torch.save({f"trunk.{name}": values for name, values in state.items()}, tmp_path / "trunk.pt")
    assert "The file's names begin with `trunk.conv1.weight`, `trunk.bn1.weight`" in _refusal(tmp_path / "trunk.pt")


def test_a_refused_file_leaves_the_encoder_as_it_was(tmp_path: Path) -> None:
    encoder = ResNet8(ResNet8Options())
    before = {name: values.clone() for name, values in encoder.state_dict().items()}
    state = _trained().state_dict()
    state["layer3.0.conv2.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, tmp_path / "nan.pt")
    assert "`layer3.0.conv2.weight` is not finite" in _refusal(tmp_path / "nan.pt", encoder)
    assert_close(encoder.state_dict(), before, rtol=0, atol=0)


class _Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("form", ["archive", "old pickle", "new pickle"])
def test_a_hostile_pickle_runs_nothing(form: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "hostile.pt"
    content = {"conv1.weight": _Hostile(mark)}
    if form == "archive":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2 if form == "old pickle" else 4))
    line = _refusal(path)
    assert not mark.exists()
    code = re.search(r"asks for the code `(posix|nt)\.system`, which reading it would run: only tensors are read", line)
    assert form == "new pickle" or code
    assert "weights_only" not in line  # nobody is told how to run it


def test_figures_of_numpy_beside_the_weights_are_code_as_well(tmp_path: Path) -> None:
    torch.save({"model": _trained().state_dict(), "best": np.float64(93.0)}, tmp_path / "best.pth")
    assert "Save the state dict alone, or as safetensors" in _refusal(tmp_path / "best.pth")


def test_a_single_wrong_byte_is_found_by_the_archives_checksums(tmp_path: Path) -> None:
    state = _trained().state_dict()
    torch.save(state, tmp_path / "file.pt")
    content = bytearray((tmp_path / "file.pt").read_bytes())
    place = content.find(state["layer3.0.conv2.weight"].numpy().tobytes())
    assert place > 0
    content[place + 2] ^= 1  # the last bit of an exponent: half or twice the weight
    (tmp_path / "file.pt").write_bytes(content)
    assert torch.load(tmp_path / "file.pt", weights_only=True).keys() == state.keys()
    line = _refusal(tmp_path / "file.pt")
    assert re.search(r"not a readable file of weights \(Bad CRC-32 for file '.*/data/\d+'\): damaged", line)


def test_a_file_that_was_saved_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(_trained().state_dict(), tmp_path / "file.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    with zipfile.ZipFile(tmp_path / "file.pt") as archive:
        assert archive.testzip() is not None
    take_weights(ResNet8(ResNet8Options()), read_weights(tmp_path / "file.pt").tensors, None, "file.pt")


def test_a_checkpoint_within_itself_is_refused(tmp_path: Path) -> None:
    content = dict[str, Any]()
    content["state_dict"] = content
    torch.save(content, tmp_path / "round.pt")
    assert "not a readable file of weights (maximum recursion depth" in _refusal(tmp_path / "round.pt")


@pytest.mark.parametrize("form", ["sparse", "meta", "complex"])
def test_tensors_that_are_not_plain_are_refused(form: str, tmp_path: Path) -> None:
    state = _trained().state_dict()
    weight = state["conv1.weight"]
    made = {"sparse": weight.to_sparse(), "meta": weight.to("meta"), "complex": weight.to(torch.complex64)}[form]
    torch.save({**state, "conv1.weight": made}, tmp_path / "file.pt")
    assert "`resnet8`: `conv1.weight` is no plain tensor of real numbers. Set" in _refusal(tmp_path / "file.pt")


def test_a_negative_variance_is_refused(tmp_path: Path) -> None:
    state = _trained().state_dict()
    state["bn1.running_var"][3] = -0.5
    torch.save(state, tmp_path / "file.pt")
    assert "`bn1.running_var` is a variance, but negative: the file is damaged" in _refusal(tmp_path / "file.pt")


def test_a_prefix_that_no_name_has_is_refused_though_all_names_fit(tmp_path: Path) -> None:
    torch.save(_trained().state_dict(), tmp_path / "file.pt")
    line = _refusal(tmp_path / "file.pt", prefix="backbone.")
    assert "prefix is `backbone.`, but no name of the file begins with it. They begin with `conv1.weight`" in line


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    save_encoder(_trained(), ResNet8Options(), Normalization((0.5,) * 3, (0.5,) * 3), tmp_path)
    whole = (tmp_path / "encoder.safetensors").read_bytes()
    torch.save(_trained().state_dict(), tmp_path / "whole.pt")
    zipped = (tmp_path / "whole.pt").read_bytes()
    for name, content in (
        ("cut.safetensors", whole[: len(whole) // 2]),
        ("short.safetensors", whole[:5]),
        ("huge.safetensors", b"\xff" * 64),
        ("text.pt", b"these are no weights, but a text\n"),
        ("text.safetensors", b"these are no weights, but a text\n"),
        ("cut.pt", zipped[: len(zipped) // 2]),
        ("cut.pth", pickle.dumps({"a": 1})[:-3]),
    ):
        (tmp_path / name).write_bytes(content)
        assert "not a readable file of weights" in _refusal(tmp_path / name), name


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([torch.ones(2)], "but a list"),
        (torch.ones(2), "but a Tensor"),
        ({"epoch": 3, "state_dict": {}}, "but entries epoch, state_dict"),
    ],
)
def test_a_file_without_a_state_dict_is_refused(content: Any, found: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    assert (
        f"holds no state dict, neither by itself nor as state_dict, model_state_dict, model, net, {found}"
        in _refusal(tmp_path / "other.pt")
    )


def test_tensors_of_a_gpu_are_read_on_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = dict[str, Any]()
    torch.save(_trained().state_dict(), tmp_path / "file.pt")
    load = torch.load

    def spy(*arguments: Any, **options: Any) -> Any:
        asked.update(options)
        return load(*arguments, **options)

    monkeypatch.setattr(torch, "load", spy)
    assert {values.device.type for values in read_weights(tmp_path / "file.pt").tensors.values()} == {"cpu"}
    assert asked == {"map_location": "cpu", "weights_only": True}


def test_the_classifier_is_the_one_linear_layer_that_reads_z() -> None:
    weight, bias = torch.randn(7, 64), torch.randn(7)
    left: dict[str, Tensor] = {"fc.weight": weight, "fc.bias": bias, "projection.weight": torch.randn(9, 32)}
    found = classifier_in(left, 64)
    assert found is not None
    assert (found[0] is weight, found[1] is bias) == (True, True)
    assert classifier_in({"fc.weight": weight}, 64) is None
    assert classifier_in({**left, "head.weight": torch.randn(3, 64), "head.bias": torch.randn(3)}, 64) is None
