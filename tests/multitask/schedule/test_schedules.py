"""Turns of an epoch: fair shares, order, and what starts from where."""

from collections import Counter
from typing import Any

import pytest
import torch

from tessera import registry
from tessera.multitask.schedule.base import Turn

TASKS = ["a", "b", "c"]


def turns(name: str, iterations: int = 12, seed: int = 0, **options: Any) -> list[Turn]:
    part = registry.find("schedule", name)
    schedule = registry.load("schedule", name)(part.options(**options))
    result: list[Turn] = schedule.turns(TASKS, iterations, torch.Generator().manual_seed(seed))
    return result


def counts(result: list[Turn]) -> Counter[str]:
    return Counter(task for turn in result for step in turn.steps for task in step)


@pytest.mark.parametrize("name", registry.parts("schedule"))
@pytest.mark.parametrize(
    ("scope", "iterations", "each"),
    [("total", 12, 4), ("total", 14, 4), ("total", 2, 1), ("per_task", 5, 5)],
)
def test_every_task_gets_the_same_share(name: str, scope: str, iterations: int, each: int) -> None:
    assert counts(turns(name, iterations, iterations_scope=scope)) == dict.fromkeys(TASKS, each)


@pytest.mark.parametrize("name", registry.parts("schedule"))
def test_turns_cover_the_epoch_and_a_seed_repeats_them(name: str) -> None:
    result = turns(name)
    assert min(turn.begin for turn in result) == 0.0
    assert max(turn.end for turn in result) == pytest.approx(1.0)
    assert result == turns(name)
    parallel = registry.find("schedule", name).options().branching == "parallel"
    assert all(turn.parallel == parallel for turn in result)


def test_joint_takes_all_tasks_in_each_step_and_round_robin_one() -> None:
    assert turns("joint")[0].steps == (("a", "b", "c"),) * 4
    assert turns("round_robin")[0].steps == (("a",), ("b",), ("c",)) * 4


def test_round_robin_in_random_order_keeps_every_share_and_repeats_by_its_seed() -> None:
    orders = [turns("round_robin", seed=seed, order="random")[0].steps for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != turns("round_robin")[0].steps
    assert all(Counter(task for (task,) in steps) == dict.fromkeys(TASKS, 4) for steps in orders)


def test_branches_see_the_same_learning_rates_and_sequential_turns_one_after_the_other() -> None:
    assert [(turn.begin, turn.end) for turn in turns("branches")] == [(0.0, 1.0)] * 3
    assert [turn.begin for turn in turns("sequential")] == pytest.approx([0, 1 / 3, 2 / 3])


@pytest.mark.parametrize("name", ["branches", "sequential"])
def test_order_is_shuffled_by_the_seed_or_fixed(name: str) -> None:
    shuffled = {tuple(turn.tasks[0] for turn in turns(name, seed=seed)) for seed in range(30)}
    assert len(shuffled) == 6
    assert {tuple(turn.tasks[0] for turn in turns(name, seed=seed, order="fixed")) for seed in range(5)} == {
        ("a", "b", "c")
    }


def test_momentum_is_dropped_kept_in_a_branch_or_shared() -> None:
    assert {turn.optimizer for turn in turns("branches")} == {None}
    assert {turn.optimizer for turn in turns("branches", reset_optimizer=False)} == {"a", "b", "c"}
    assert {turn.optimizer for turn in turns("sequential")} == {None}
    for name, options in (("sequential", {"reset_optimizer": False}), ("round_robin", {}), ("joint", {})):
        assert len({turn.optimizer for turn in turns(name, **options)} - {None}) == 1
