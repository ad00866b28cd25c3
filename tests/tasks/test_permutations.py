"""Permutation sets against the published figures and a plain greedy choice."""

import itertools
from functools import cache

import pytest
import torch
from torch import Tensor

from tessera.tasks.permutations import choose_permutations, hamming_distances


@cache
def candidates() -> Tensor:
    """All orders of nine tiles."""
    return torch.tensor(list(itertools.permutations(range(9))), dtype=torch.uint8)


def choose(number: int, rule: str, seed: int = 0, min_distance: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return choose_permutations(number, rule, generator, min_distance)  # type: ignore[arg-type]


@pytest.mark.parametrize(("number", "rule", "mean", "least"), [(30, "max_avg", 8.26, 2), (100, "max_min", 8.08, 6)])
def test_sets_are_as_far_apart_as_published(number: int, rule: str, mean: float, least: int) -> None:
    chosen = choose(number, rule)
    assert chosen.dtype == torch.int64
    assert chosen.shape == (number, 9)
    assert chosen.sort(dim=1).values.eq(torch.arange(9)).all()
    distances = hamming_distances(chosen)
    assert abs(distances.double().mean() - mean) < 0.01
    assert distances.min() >= least


@pytest.mark.parametrize("rule", ["max_min", "max_avg"])
def test_each_choice_is_a_best_one(rule: str) -> None:
    """All distances anew at each step, by plain NumPy-free loops over the chosen ones."""
    chosen = choose(4, rule, seed=3)
    for count in range(1, 4):
        earlier = chosen[:count].to(torch.uint8)
        distances = torch.stack([(candidates() != one).sum(dim=1) for one in earlier])
        mine = (earlier != chosen[count].to(torch.uint8)).sum(dim=1)
        if rule == "max_min":
            least = distances.min(dim=0).values
            assert mine.min() == least.max()
            assert mine.sum() == distances.sum(dim=0)[least == least.max()].max()
        else:
            assert mine.sum() == distances.sum(dim=0).max()


def test_seeds_decide_the_set_and_ties_are_drawn() -> None:
    assert torch.equal(choose(5, "max_min", 1), choose(5, "max_min", 1))
    assert not torch.equal(choose(5, "max_min", 1), choose(5, "max_min", 2))


def test_no_permutation_comes_twice() -> None:
    assert len(choose(60, "max_avg").unique(dim=0)) == 60  # type: ignore[no-untyped-call]


def test_too_many_are_refused() -> None:
    with pytest.raises(ValueError, match="number must be 1 to 362880, but is 362881"):
        choose(362_881, "max_min")


@pytest.mark.parametrize("number", [150, pytest.param(701, marks=pytest.mark.slow)])
def test_the_set_of_jigsaw_plus_keeps_three_places_apart(number: int) -> None:
    """As the released set of 701: least distance 3, mean 8.00."""
    chosen = choose(number, "max_avg", min_distance=3)
    assert chosen.shape == (number, 9)
    assert chosen.sort(dim=1).values.eq(torch.arange(9)).all()
    distances = hamming_distances(chosen).double()
    assert distances.min() >= 3
    assert abs(distances.mean() - (8.01 if number == 701 else 8.05)) < 0.01


def test_the_least_distance_leaves_the_best_of_those_far_enough() -> None:
    """Without the limit the greedy mean takes permutations that are nearer than 7 places to another."""
    free, chosen = choose(30, "max_avg", seed=1), choose(30, "max_avg", seed=1, min_distance=7)
    assert hamming_distances(free).min() < 7 <= hamming_distances(chosen).min()
    distances = torch.stack([(candidates() != one).sum(dim=1) for one in chosen[:29].to(torch.uint8)])
    allowed = distances.min(dim=0).values >= 7
    assert (chosen[:29] != chosen[29]).sum() == distances.sum(dim=0)[allowed].max()


def test_a_set_that_cannot_be_so_far_apart_is_refused() -> None:
    with pytest.raises(ValueError, match="only 9 of 10 permutations were found that differ in 9 places or more"):
        choose(10, "max_min", min_distance=9)
