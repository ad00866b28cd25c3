import pytest
import torch
from torch.testing import assert_close

from encoders import BY_NAME
from tessera import registry
from tessera.errors import StudyError
from tessera.models.encoders.cifar_resnet import ResNet8
from tessera.models.encoders.options import ResNet8Options, ResNet26Options
from tessera.models.networks.build import build_network, take_weights
from tessera.models.networks.classifier import EncoderClassifier
from tessera.models.networks.options import ClassifierOptions


@pytest.fixture
def network() -> EncoderClassifier:
    return EncoderClassifier(ClassifierOptions(), ResNet8(ResNet8Options()), num_classes=4)


def test_logits_are_those_of_the_averaged_map(network: EncoderClassifier) -> None:
    network.eval()
    images = torch.randn(2, 3, 16, 16)
    expected = network.encoder(images).flatten(2).mean(2) @ network.head.weight.T + network.head.bias
    assert_close(network(images), expected)


@pytest.mark.parametrize(
    ("num_layers", "prefixes"),
    [(0, ()), (1, ("conv1", "bn1")), (3, ("conv1", "bn1", "layer1", "layer2")), (4, ("conv1", "bn1", "layer"))],
)
def test_freeze_keeps_weights_and_statistics_up_to_the_layer(
    network: EncoderClassifier, num_layers: int, prefixes: tuple[str, ...]
) -> None:
    network.freeze(num_layers)
    frozen = {name for name, p in network.encoder.named_parameters() if not p.requires_grad}
    assert frozen == {name for name, _ in network.encoder.named_parameters() if name.startswith(prefixes)}
    before = {name: tensor.clone() for name, tensor in network.encoder.state_dict().items()}
    network.train()
    network(torch.randn(4, 3, 16, 16))
    changed = {name for name, tensor in network.encoder.state_dict().items() if not torch.equal(tensor, before[name])}
    statistics = {name for name, _ in network.encoder.named_buffers()}
    assert changed == {name for name in statistics if not name.startswith(prefixes)}


def test_more_layers_than_there_are_is_refused(network: EncoderClassifier) -> None:
    with pytest.raises(StudyError, match=r"freeze_layers is 5, but the encoder has 4 layers: stem, stage1"):
        network.freeze(5)


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("hidden", [(), (6, 5)])
def test_any_encoder_is_a_student(name: str, hidden: tuple[int, ...]) -> None:
    encoder = registry.find("encoder", name).options(name=name)
    options = ClassifierOptions(encoder=encoder, hidden=hidden)
    with torch.device("meta"):
        built = build_network(options, num_classes=4, image_size=32)
        logits = built(torch.empty(2, 3, 64, 64))
    assert logits.shape == (2, 4)
    assert [type(layer).__name__ for layer in built.head.modules() if not list(layer.children())].count(
        "Linear"
    ) == 1 + len(hidden)
    assert built.layer_channels == built.encoder.layer_channels
    assert built.stage_pairs == built.encoder.stage_pairs
    assert {key.partition(".")[0] for key in built.state_dict()} == {"encoder", "head"}


def test_without_an_encoder_nothing_is_built() -> None:
    with pytest.raises(StudyError, match=r"network `classifier` has no encoder\. Set its `encoder`"):
        build_network(ClassifierOptions(), num_classes=4, image_size=32)


def test_weights_of_another_encoder_are_refused() -> None:
    options = ClassifierOptions(encoder=ResNet26Options())
    with torch.device("meta"):
        built = build_network(options, num_classes=4, image_size=32)
    with pytest.raises(StudyError, match=r"target\.network\.encoder is `resnet26`, but .+ another encoder, `resnet8`"):
        take_weights(built, options, ResNet8(ResNet8Options()), ResNet8Options())
