"""Lengths and directions, down to vectors that are as good as 0."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from tessera.transfer.vectors import SHORTEST, lengths, unit


def test_directions_and_lengths_are_those_of_torch_with_their_gradients() -> None:
    vectors = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    assert_close(unit(vectors), F.normalize(vectors, dim=-1))
    assert_close(lengths(vectors), vectors.norm(dim=-1))
    assert torch.autograd.gradcheck(unit, vectors)
    assert torch.autograd.gradcheck(lengths, vectors)


@pytest.mark.parametrize("power", range(-44, -10))
def test_a_gradient_is_right_or_of_ordinary_size_however_short_the_vector(power: int) -> None:
    generator = torch.Generator().manual_seed(1)
    direction, upstream = torch.randn(2, 6, 9, generator=generator, dtype=torch.float64)
    vectors = (direction * 10.0**power).float().requires_grad_()
    (found,) = torch.autograd.grad(unit(vectors), vectors, upstream.float())
    if 10.0**power > SHORTEST:
        along = F.normalize(direction, dim=1)
        across = upstream - (upstream * along).sum(dim=1, keepdim=True) * along
        expected = across / (direction.norm(dim=1, keepdim=True) * 10.0**power)
        assert_close(found.double(), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    else:
        assert found.isfinite().all()
        assert found.abs().max() < 10 / SHORTEST
    (of_length,) = torch.autograd.grad(lengths(vectors).sum(), vectors)
    assert of_length.isfinite().all()
