import pytest
import torch
from torch.testing import assert_close

from tessera.errors import StudyError
from tessera.models.encoders.cifar_resnet import ResNet8
from tessera.models.encoders.options import ResNet8Options
from tessera.models.networks.encoder_classifier import EncoderClassifier


@pytest.fixture
def network() -> EncoderClassifier:
    return EncoderClassifier(ResNet8(ResNet8Options()), num_classes=4)


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
