"""Steps of shared and of own inputs: one pass of the encoder for all heads gives the gradients of a pass for each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from multitask_stand_ins import LABELLED, SHARED, UNITS, tiny_source, two_labels
from torch import Tensor
from torch.testing import assert_close

from tessera.multitask.gradients import leave_gradients
from tessera.multitask.learner import Learner
from tessera.multitask.pretrain import pretrain
from tessera.multitask.schedule.base import Turn
from tessera.multitask.step import OwnInputs, SharedInput
from tessera.multitask.validation import validate
from tessera.tasks.base import TaskBatch
from tessera.tasks.labelled import LabelledTask
from tessera.training.compute import Compute

NAMES = ["classification", "classification.shade"]


def learner_of(**settings: Any) -> Learner:
    source = tiny_source(**{"tasks": LABELLED, "schedule": SHARED, **settings})
    made = Learner(source, two_labels(), {}, Compute(torch.device("cpu"), "float32"), 0)
    for module in (made.encoder, made.heads, made.sharing, made.regularizer):
        module.double().eval()  # batch norms rest, so that one pass more changes nothing
    return made


def batches_of(learner: Learner) -> dict[str, TaskBatch]:
    batches = next(learner.feeds(0, [Turn(steps=(tuple(NAMES),), shared=True)])[NAMES[0]])
    return {name: batch._replace(inputs=batch.inputs.double()) for name, batch in batches.items()}


def gradients(learner: Learner) -> dict[str, Tensor]:
    modules = {"encoder": learner.encoder, "heads": learner.heads, "sharing": learner.sharing}
    return {
        f"{key}.{name}": parameter.grad.clone()
        for key, module in modules.items()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize("settings", [{}, {"sharing": "lasso", "encoder": UNITS}])
def test_one_pass_for_all_heads_has_the_gradients_of_a_pass_for_each(settings: dict[str, Any]) -> None:
    found = []
    for shared in (True, False):
        learner = learner_of(**settings)
        records: dict[str, list[Any]] = {name: [] for name in NAMES}
        batches = batches_of(learner)
        feeds: dict[str, Iterator[TaskBatch]] = {name: iter([batch]) for name, batch in batches.items()}
        step = SharedInput(learner, NAMES, records, batches) if shared else OwnInputs(learner, NAMES, records, feeds)
        leave_gradients(step, learner.balancing, list(learner.encoder.parameters()))
        found.append((gradients(learner), {name: records[name][0]["loss"] for name in NAMES}))
    assert_close(found[0], found[1], rtol=1e-6, atol=1e-9)
    assert all(gradient.abs().sum() > 0 for gradient in found[0][0].values())


def test_the_encoder_sees_a_shared_batch_once() -> None:
    learner = learner_of()
    passes = 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1

    learner.encoder.conv1.register_forward_hook(count)  # type: ignore[operator, union-attr]
    records: dict[str, list[Any]] = {name: [] for name in NAMES}
    step = SharedInput(learner, NAMES, records, batches_of(learner))
    leave_gradients(step, learner.balancing, list(learner.encoder.parameters()))
    assert passes == 1
    again = [each.loss.item() for each in step.losses()]  # looked at again: the same batch, and nothing recorded twice
    assert passes == 2
    assert again == pytest.approx([records[name][0]["loss"].item() for name in NAMES])
    assert [len(records[name]) for name in NAMES] == [1, 1]


def test_held_out_images_are_seen_once_for_all_heads_with_the_figures_of_a_pass_for_each() -> None:
    learner = learner_of()
    sizes: list[int] = []
    learner.encoder.conv1.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))  # type: ignore[operator, union-attr]
    learner.encoder.float(), learner.heads.float()
    together = validate(learner, NAMES)
    passes = len(sizes)
    assert list(together) == NAMES
    assert sum(sizes) <= len(learner.held_out)
    assert together[NAMES[0]] == validate(learner, NAMES[:1])[NAMES[0]]
    learner.drawn_by = dict.fromkeys(NAMES, learner.drawn_by[NAMES[0]])  # the second alone, by the views of the first
    alone = validate(learner, NAMES[1:])[NAMES[1]]
    assert together[NAMES[1]] == pytest.approx(alone)
    assert len(sizes) == 3 * passes


def test_an_earlier_encoder_sees_a_shared_batch_once() -> None:
    """What a regularizer compares the features with costs one pass more, not one a head."""
    learner = learner_of(regularizer={"name": "divergence", "anchor": "previous"})
    seen: list[Any] = []
    learner.encoder.conv1.register_forward_hook(lambda module, *_: seen.append(module))  # type: ignore[operator, union-attr]
    learner.regularizer.begin_epoch(learner.encoder, 1)  # its copy keeps the hook
    learner.regularizer.train()
    batches, records = batches_of(learner), {name: list[Any]() for name in NAMES}
    shared = [each.loss.item() for each in SharedInput(learner, NAMES, records, batches).losses()]
    assert len(seen) == 2
    assert len(set(map(id, seen))) == 2
    feeds = {name: iter([batch]) for name, batch in batches.items()}
    own = [each.loss.item() for each in OwnInputs(learner, NAMES, records, feeds).losses()]
    assert shared == pytest.approx(own)


def test_a_shared_epoch_has_as_many_steps_as_iterations_and_repeats(tmp_path: Path) -> None:
    source = tiny_source(tasks=LABELLED, schedule=SHARED)
    compute = Compute(torch.device("cpu"), "float32")
    whole = pretrain(source, two_labels(), {}, compute, 0, None)
    assert whole.history[0]["order"] == "classification + classification.shade"
    assert {key for key in whole.history[0] if key.endswith(".loss")} == {f"{name}.loss" for name in NAMES}
    again = pretrain(source, two_labels(), {}, compute, 0, tmp_path)
    resumed = pretrain(source, two_labels(), {}, compute, 0, tmp_path)
    for other in (again, resumed):
        pairs = zip(whole.encoder.state_dict().values(), other.encoder.state_dict().values(), strict=True)
        assert all(torch.equal(one, two) for one, two in pairs)
    seen = tiny_source().batch_size * tiny_source().iterations
    learner = Learner(source, two_labels(), {}, compute, 0)
    turn = Turn(steps=(tuple(NAMES),) * 6, shared=True)
    assert turn.batches * 8 == seen
    batches = list(learner.feeds(0, [turn])[NAMES[0]])
    assert len(batches) == 6
    assert all(torch.equal(each[NAMES[0]].inputs, each[NAMES[1]].inputs) for each in batches)


def test_under_bfloat16_a_shared_step_is_finite_and_near() -> None:
    source = tiny_source(tasks=LABELLED, schedule=SHARED, balancing="uncertainty")
    exact, rough = (
        pretrain(source, two_labels(), {}, Compute(torch.device("cpu"), precision), 0, None)
        for precision in ("float32", "bfloat16")
    )
    for name in NAMES:
        one, other = (float(result.history[-1][f"{name}.loss"]) for result in (exact, rough))
        assert one == pytest.approx(other, rel=0.1)


@pytest.mark.parametrize("shared", [False, True])
def test_other_batches_are_asked_for_without_a_trace(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are other batches of the same tasks, their losses the tasks' alone; the training's stay what they are."""
    drawn = list[Tensor]()
    make = LabelledTask.batch_of

    def batch_of(task: Any, views: Tensor, labels: Any) -> TaskBatch:
        batch = make(task, views, labels)
        drawn.append(batch.inputs)
        return batch

    monkeypatch.setattr(LabelledTask, "batch_of", batch_of)
    omega = {"name": "divergence", "anchor": "prior_uniform"}
    source = tiny_source(tasks=LABELLED, schedule=SHARED if shared else "joint", regularizer=omega)
    trained, others = list[list[Tensor]](), list[Tensor]()
    for curious in (False, True):
        learner = Learner(source, two_labels(), {}, Compute(torch.device("cpu"), "float32"), 0)
        turn = Turn(steps=(tuple(NAMES),) * 3, shared=shared)
        feeds, records = learner.feeds(0, [turn]), {name: list[Any]() for name in NAMES}
        trained.append([])
        penalties = list[Any]()
        learner.regularizer.register_forward_hook(lambda *found, to=penalties: to.append(found))
        for tasks in turn.steps:
            drawn.clear()
            step = learner.step(turn, tasks, records, feeds)
            own = list(drawn)
            if curious:
                drawn.clear()
                assert [each.task for each in step.another().losses()] == NAMES
                assert not penalties
                others += drawn
            drawn.clear()
            losses = [each.loss.item() for each in step.losses()]
            penalties.clear()
            trained[-1] += own + drawn
            for name, loss in zip(NAMES, losses, strict=True):  # with what the regularizer adds
                assert loss == pytest.approx(records[name][-1]["loss"] + records[name][-1]["regularizer"])
        assert [len(rows) for rows in records.values()] == [3, 3]
    assert len(others) == len(trained[0]) == 6
    assert all(torch.equal(one, two) for one, two in zip(*trained, strict=True))
    assert not any(torch.equal(one, two) for one in trained[0] for two in others)
