"""Which named properties each balancing has that compares gradients, and which it has not."""

from collections.abc import Callable
from typing import Any

import gradient_properties as has
import pytest
import torch
from gradient_properties import Make, make

from tessera import registry

ALL = [
    has.sees_gradients_and_not_parameters,
    has.is_finite_whatever_the_lengths,
    has.is_steady_where_gradients_depend_on_each_other,
    has.cancels_what_is_opposed,
]
PROPERTIES: dict[str, tuple[Make, list[Callable[[Make], None]]]] = {
    "mgda": (
        make("mgda"),
        [
            has.does_not_ask_for_the_order_of_tasks, has.grows_with_the_gradients(1), has.goes_against_no_task,
            has.goes_against_no_task_whatever_their_lengths, has.is_equal_s_sum_times(1 / 3),
            has.stands_still_where_a_task_has_no_gradient, has.has_no_negative_weight, has.has_weights_of_sum_one,
        ],
    ),
    "mgda_l2": (
        make("mgda", normalize="l2"),
        [
            has.does_not_ask_for_the_order_of_tasks, has.grows_with_the_gradients(1), has.is_equal_s_sum_times(1 / 3),
            has.refuses_a_gradient_of_length_zero, has.has_no_negative_weight, has.has_weights_of_sum_one,
        ],
    ),
    "pcgrad": (
        make("pcgrad"),
        [has.grows_with_the_gradients(1), has.is_equal_s_sum_times(1), has.leaves_out_what_has_no_gradient],
    ),
    "pcgrad_mean": (make("pcgrad", combine="mean"), [has.is_equal_s_sum_times(1 / 3)]),
    "cagrad": (
        make("cagrad"),
        [
            has.does_not_ask_for_the_order_of_tasks, has.grows_with_the_gradients(1),
            has.is_equal_s_sum_times((1 + 0.5) / (1 + 0.5**2) / 3), has.has_no_negative_weight,
        ],
    ),
    "imtl": (
        make("imtl", balance="gradients"),
        [
            has.does_not_ask_for_the_order_of_tasks, has.grows_with_the_gradients(1), has.is_equal_s_sum_times(1 / 3),
            has.refuses_a_gradient_of_length_zero, has.has_weights_of_sum_one,
        ],
    ),
    "nash_mtl": (
        make("nash_mtl"),
        [
            has.does_not_ask_for_the_order_of_tasks, has.grows_with_the_gradients(0), has.goes_against_no_task,
            has.does_not_ask_for_the_lengths_of_gradients, has.goes_against_no_task_whatever_their_lengths,
            has.is_equal_s_sum_times(1 / 2), has.refuses_a_gradient_of_length_zero, has.has_no_negative_weight,
        ],
    ),
    "aligned_mtl": (
        make("aligned_mtl"),
        [
            has.does_not_ask_for_the_order_of_tasks, has.grows_with_the_gradients(1), has.is_equal_s_sum_times(1),
            has.leaves_out_what_has_no_gradient,
        ],
    ),
    "fairgrad": (
        make("fairgrad", alpha=2.0),
        [
            has.does_not_ask_for_the_order_of_tasks, has.grows_with_the_gradients(-1 / 3), has.goes_against_no_task,
            has.goes_against_no_task_whatever_their_lengths, has.is_equal_s_sum_times(2 ** (-4 / 3)),
            has.refuses_a_gradient_of_length_zero, has.has_no_negative_weight,
        ],
    ),
    "upgrad": (
        make("upgrad"),
        [
            has.does_not_ask_for_the_order_of_tasks, has.grows_with_the_gradients(1), has.goes_against_no_task,
            has.goes_against_no_task_whatever_their_lengths, has.is_equal_s_sum_times(1 / 3),
            has.leaves_out_what_has_no_gradient, has.has_no_negative_weight,
        ],
    ),
    "dual_proj": (
        make("dual_proj"),
        [
            has.does_not_ask_for_the_order_of_tasks, has.grows_with_the_gradients(1), has.goes_against_no_task,
            has.goes_against_no_task_whatever_their_lengths, has.is_equal_s_sum_times(1 / 3),
            has.leaves_out_what_has_no_gradient, has.has_no_negative_weight,
        ],
    ),
}  # fmt: skip
LACKING: dict[str, list[Callable[[Make], None]]] = {
    "mgda": [has.does_not_ask_for_the_lengths_of_gradients, has.leaves_out_what_has_no_gradient],
    "mgda_l2": [has.goes_against_no_task],  # weights of normalised gradients, put to those as they are
    "pcgrad": [has.does_not_ask_for_the_order_of_tasks, has.goes_against_no_task, has.has_weights_of_sum_one],
    "cagrad": [has.goes_against_no_task, has.does_not_ask_for_the_lengths_of_gradients],
    "imtl": [has.goes_against_no_task, has.has_no_negative_weight, has.does_not_ask_for_the_lengths_of_gradients],
    "nash_mtl": [has.has_weights_of_sum_one],
    "aligned_mtl": [has.goes_against_no_task, has.has_weights_of_sum_one],
    "fairgrad": [has.does_not_ask_for_the_lengths_of_gradients],
    "upgrad": [has.does_not_ask_for_the_lengths_of_gradients, has.has_weights_of_sum_one],
    "dual_proj": [has.does_not_ask_for_the_lengths_of_gradients],
}


def name_of(value: Any) -> str | None:
    return getattr(value, "__qualname__", "").split(".")[0] or None


@pytest.mark.parametrize(
    ("name", "holds"), [(name, holds) for name, (_, own) in PROPERTIES.items() for holds in ALL + own], ids=name_of
)
def test_property_holds(name: str, holds: Callable[[Make], None]) -> None:
    holds(PROPERTIES[name][0])


@pytest.mark.parametrize(
    ("name", "lacks"), [(name, lacks) for name, own in LACKING.items() for lacks in own], ids=name_of
)
def test_property_does_not_hold(name: str, lacks: Callable[[Make], None]) -> None:
    with pytest.raises(AssertionError):
        lacks(PROPERTIES[name][0])


def test_every_balancing_that_compares_by_its_gram_matrix_alone_has_its_properties_named() -> None:
    stateless = {
        name
        for name in registry.parts("balancing")
        if registry.find("balancing", name).options().compares == "all"  # those of the last layer follow losses, too
    }
    assert stateless == {name.split("_l2")[0].split("_mean")[0] for name in PROPERTIES}


@pytest.mark.parametrize("name", ["imtl", "nash_mtl", "fairgrad"])
def test_a_gram_matrix_whose_halves_differ_by_rounding_has_weights(name: str) -> None:
    """As float32 gave it of two opposed gradients: exactly singular, while `eigh` reads its lower half alone."""
    matrix = [[11.976351737976074, -11.976351737976074], [-11.97635078430176, 11.97635078430176]]
    found = make(name)(2).weights(torch.tensor(matrix, dtype=torch.float64), torch.ones(2, dtype=torch.float64))
    assert found.isfinite().all()
