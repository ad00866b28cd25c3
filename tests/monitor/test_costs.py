"""What encoders cost, against a count of their convolutions."""

import pytest
import torch
from torch import Tensor, nn

from tessera import registry
from tessera.monitor.costs import _FORWARD, cost_of


@pytest.mark.parametrize("name", _FORWARD)
def test_multiply_adds_are_those_of_the_convolutions(name: str) -> None:
    stated, pixels = _FORWARD[name]
    encoder = registry.load("encoder", name)(registry.find("encoder", name).options()).to("meta").eval()
    counts = []

    def count(layer: nn.Conv2d, _: tuple[Tensor, ...], output: Tensor) -> None:
        counts.append(output.shape[2] * output.shape[3] * layer.weight.numel())

    for layer in encoder.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        encoder(torch.empty(1, 3, pixels, pixels, device="meta"))
    assert stated == pytest.approx(sum(counts), rel=0.01)


def test_images_of_unequal_sides_cost_by_their_area() -> None:
    def cost(image_size: object) -> float | None:
        return cost_of({"source": {"encoder": {"name": "resnet8"}, "dataset": {"image_size": image_size}}})

    square = cost(64)
    assert square is not None
    assert cost({"height": 32, "width": 128}) == square
    assert cost({"height": 64, "width": 128}) == 2 * square
