"""Named properties of balancings that compare gradients: each method's test lists those that it has."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tessera import registry
from tessera.multitask.balancing.base import Balancing, NoWeightError

Make = Callable[[int], Balancing]  # of the number of tasks

EYE = torch.eye(6, dtype=torch.float64)
CONFLICT = torch.tensor([[1.0, 0.2, 0.0, 0], [-0.8, 0.7, 0.1, 0], [0.1, -0.9, 1.5, 0.2]], dtype=torch.float64)


def make(name: str, **settings: Any) -> Make:
    """Builds a balancing of the table."""
    options = registry.find("balancing", name).options(**settings)
    cls = registry.load("balancing", name)
    return lambda number: cls(options, [f"task{i}" for i in range(number)])  # type: ignore[no-any-return]


def random_gradients(number: int, size: int = 8, seed: int = 0) -> Tensor:
    """(K, size) float64, of lengths between a third and three."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(number, size, generator=generator, dtype=torch.float64)
    return rows * torch.linspace(-1, 1, number, dtype=torch.float64).mul(1.1).exp()[:, None]


def weights_of(make: Make, gradients: Tensor, losses: Tensor | None = None) -> Tensor:
    """(K,) by the Gram matrix; losses are 1 unless given."""
    number = len(gradients)
    ones = torch.ones(number, dtype=torch.float64)
    weights = make(number).weights(gradients @ gradients.T, ones if losses is None else losses)
    assert (weights.shape, weights.dtype, weights.device.type) == ((number,), torch.float64, "cpu")
    return weights


def combined(make: Make, gradients: Tensor) -> Tensor:
    """The weighed sum of the gradients."""
    return weights_of(make, gradients) @ gradients


def does_not_ask_for_the_order_of_tasks(make: Make) -> None:
    gradients, order = random_gradients(5), torch.tensor([3, 0, 4, 1, 2])
    assert_close(weights_of(make, gradients[order]), weights_of(make, gradients)[order], rtol=1e-7, atol=1e-10)


def sees_gradients_and_not_parameters(make: Make) -> None:
    """A rotation of the parameters rotates what comes out."""
    gradients = random_gradients(4)
    rotation = torch.linalg.qr(random_gradients(8, seed=1)).Q
    assert_close(combined(make, gradients @ rotation), combined(make, gradients) @ rotation, rtol=1e-7, atol=1e-9)


def grows_with_the_gradients(power: float) -> Callable[[Make], None]:
    """All gradients s times as long give a result that is s^power times as long, for s from 1e-6 to 1e6."""

    def property_(make: Make) -> None:
        for gradients in (random_gradients(4), CONFLICT):
            expected = combined(make, gradients)
            for scale in (1e-6, 1e-3, 1e3, 1e6):
                assert_close(combined(make, scale * gradients) / scale**power, expected, rtol=1e-6, atol=1e-9)

    return property_


def does_not_ask_for_the_lengths_of_gradients(make: Make) -> None:
    gradients, scales = CONFLICT, torch.tensor([[1e6], [1.0], [1e-6]], dtype=torch.float64)
    assert_close(combined(make, scales * gradients), combined(make, gradients), rtol=1e-6, atol=1e-9)


def goes_against_no_task(make: Make) -> None:
    for seed in range(20):
        gradients = random_gradients(4, size=4 + seed % 4, seed=seed)
        result = combined(make, gradients)
        slack = 1e-7 * gradients.norm(dim=1) * gradients.norm(dim=1).max()
        assert (gradients @ result >= -slack).all()


def goes_against_no_task_whatever_their_lengths(make: Make) -> None:
    for scales in ([1e6, 1.0, 1e-6], [1e-6, 1e6, 1.0], [1e6, 1e6, 1e-6]):
        gradients = torch.tensor(scales, dtype=torch.float64)[:, None] * CONFLICT
        result = combined(make, gradients)
        assert result.norm() > 0
        assert (torch.nn.functional.normalize(gradients) @ result >= -1e-6 * result.norm()).all()


def is_finite_whatever_the_lengths(make: Make) -> None:
    for scales in ([1e6, 1.0, 1e-6], [1e-6, 1e6, 1.0], [1e-6, 1e-6, 1e6]):
        assert weights_of(make, torch.tensor(scales, dtype=torch.float64)[:, None] * CONFLICT).isfinite().all()


def is_steady_where_gradients_depend_on_each_other(make: Make) -> None:
    """Two tasks that are one, or three in a plane, with and without the rounding of float32."""
    one, other, _ = CONFLICT
    for gradients in (
        torch.stack([one, one, other]),
        torch.stack([one, 2 * one]),
        torch.stack([one, other, one + other]),
    ):
        for given in (gradients, gradients.float().double() + 1e-7 * random_gradients(len(gradients), 4, seed=3)):
            result = combined(make, given)
            assert result.isfinite().all()
            assert result.norm() <= 3 * max(1.0, float(gradients.norm(dim=1).sum()))


def cancels_what_is_opposed(make: Make) -> None:
    one = CONFLICT[:1]
    assert combined(make, torch.cat([one, -one])).norm() < 1e-6
    found = combined(make, torch.cat([one, -one]).float().double() + 1e-7 * random_gradients(2, 4, seed=3))
    assert found.isfinite().all()


def is_equal_s_sum_times(factor: float) -> Callable[[Make], None]:
    """Of three orthogonal gradients of length 2, between which there is nothing to decide."""

    def property_(make: Make) -> None:
        gradients = 2 * EYE[:3]
        assert_close(combined(make, gradients), factor * gradients.sum(dim=0), rtol=1e-9, atol=1e-12)

    return property_


def leaves_out_what_has_no_gradient(make: Make) -> None:
    """A gradient of length 0 changes nothing but the number of tasks."""
    two = CONFLICT[:2]
    with_zero = torch.cat([two, torch.zeros(1, 4, dtype=torch.float64)])
    assert weights_of(make, with_zero).isfinite().all()
    direction = torch.nn.functional.normalize
    assert_close(
        direction(combined(make, with_zero), dim=0), direction(combined(make, two), dim=0), rtol=1e-7, atol=1e-9
    )


def stands_still_where_a_task_has_no_gradient(make: Make) -> None:
    with_zero = torch.cat([CONFLICT, torch.zeros(1, 4, dtype=torch.float64)])
    assert_close(weights_of(make, with_zero), EYE[3, :4])


def refuses_a_gradient_of_length_zero(make: Make) -> None:
    with_zero = torch.cat([CONFLICT[:1], torch.zeros(1, 4, dtype=torch.float64), CONFLICT[1:]])
    with pytest.raises(NoWeightError) as caught:
        weights_of(make, with_zero)
    assert caught.value.place == 1
    assert caught.value.why.endswith(".")


def has_no_negative_weight(make: Make) -> None:
    for seed in range(10):
        assert (weights_of(make, random_gradients(4, seed=seed)) >= 0).all()


def has_weights_of_sum_one(make: Make) -> None:
    for seed in range(10):
        assert weights_of(make, random_gradients(4, seed=seed)).sum().item() == pytest.approx(1)
