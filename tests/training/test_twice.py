"""Batch normalisation that is differentiated twice, against autograd's own and against finite differences."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from tessera.training.twice import FastTwice


def maps(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("shape", [(3, 2, 2, 2), (5, 2)])
@pytest.mark.parametrize("affine", [True, False])
def test_both_gradients_are_those_of_finite_differences(shape: tuple[int, ...], affine: bool) -> None:
    weight = maps(2) if affine else None
    bias = maps(2) if affine else None
    given = [tensor for tensor in (maps(*shape), weight, bias) if tensor is not None]

    def normalized(*tensors: Tensor) -> Tensor:
        images, *rest = tensors
        with FastTwice():
            return F.batch_norm(images, None, None, *rest, training=True)

    assert torch.autograd.gradcheck(normalized, given)
    assert torch.autograd.gradgradcheck(normalized, given)


def test_a_layer_gives_and_keeps_what_it_always_did() -> None:
    torch.manual_seed(1)
    images, upstream, cotangent = (torch.randn(4, 3, 5, 5) for _ in range(3))
    found = []
    for mode in (None, FastTwice()):
        layer = nn.BatchNorm2d(3)
        layer.weight.data = torch.tensor([0.5, 1.0, 2.0])
        pixels = images.clone().requires_grad_()
        if mode is None:
            output = layer(pixels)
        else:
            with mode:
                output = layer(pixels)
                assert type(output.grad_fn).__name__ == "_ForwardBackward"
        (first,) = torch.autograd.grad(output, pixels, upstream, create_graph=True)
        second = torch.autograd.grad(first, (pixels, layer.weight), cotangent)
        found.append([output, first, *second, layer.running_mean, layer.running_var, layer.num_batches_tracked])
    for ours, theirs in zip(*found, strict=True):
        assert_close(ours, theirs)


def test_statistics_that_rest_are_left_to_pytorch() -> None:
    layer, images = nn.BatchNorm2d(3).eval(), torch.randn(2, 3, 4, 4)
    with FastTwice():
        output = layer(images)
    assert type(output.grad_fn).__name__ != "_ForwardBackward"
    assert_close(output, layer(images))
