"""Pretraining as a whole: what the methods must do, and that an interrupted training loses nothing."""

import csv
import math
from pathlib import Path
from typing import Any

import multitask_stand_ins as stand_ins
import pytest
import torch
from multitask_stand_ins import BRIGHTNESS, CONTRAST, ENCODER, TURN, UNITS, tiny_dataset, tiny_source
from torch import Tensor, nn
from torch.testing import assert_close

from tessera.errors import TesseraError
from tessera.multitask import epochs
from tessera.multitask.epochs import Pretrained
from tessera.multitask.fusion.states import copy_state
from tessera.multitask.learner import Learner
from tessera.multitask.pretrain import pretrain
from tessera.multitask.records import means
from tessera.multitask.schedule.base import Turn
from tessera.multitask.task_network import head_key
from tessera.multitask.validation import validate
from tessera.registry import label, parts
from tessera.training.compute import Compute
from tessera.training.learning_rate import learning_rate_at
from tessera.training.optimizer import make_optimizer
from tessera.training.randomness import generator_of, index_batches, seed_of

COMPUTE = Compute(torch.device("cpu"), "float32")
DATASET = tiny_dataset()
OMEGA = {"name": "divergence", "filter": "learned"}
ADAM = {"kind": "adam", "learning_rate": 0.01}
METHODS: dict[str, dict[str, Any]] = {
    "joint": {},
    "round_robin": {"schedule": "round_robin"},
    "swa": {"schedule": "round_robin", "fusion": {"name": "average", "window": 2, "window_feedback": True}},
    "sequential": {"schedule": {"name": "sequential", "reset_optimizer": False}},
    "sequential_tte": {"schedule": "sequential", "fusion": {"name": "tte", "rest": "last", "window": 2}},
    "branches": {"schedule": {"name": "branches", "reset_optimizer": False}, "fusion": "average"},
    "branches_adam": {
        "schedule": {"name": "branches", "reset_optimizer": False},
        "fusion": "average",
        "optimizer": ADAM,
    },
    "tte_adam": {"schedule": "branches", "fusion": "tte", "optimizer": ADAM},
    "uncertainty_adam": {"balancing": "uncertainty", "optimizer": ADAM},
    "tte": {"schedule": "branches", "fusion": {"name": "tte", "window": 2}, "regularizer": OMEGA},
    "msvl": {"sharing": "lasso", "encoder": UNITS, "schedule": {"name": "round_robin", "order": "random"}},
    **{f"joint_{name}": {"balancing": name} for name in parts("balancing") if name != "equal"},
    "sam": {"regularizer": "sam", "balancing": "gradnorm"},
    "sam_tte_adam": {"regularizer": "sam", "schedule": "branches", "fusion": "tte", "optimizer": ADAM},
    "msvl_accumulate": {"sharing": "lasso", "encoder": UNITS, "balancing": {"name": "equal", "average": True}},
    "msvl_window": {"sharing": "lasso", "encoder": UNITS, "schedule": "round_robin", "fusion": "average"},
    "tte_of_units": {
        "sharing": "lasso",
        "encoder": UNITS,
        "schedule": "branches",
        "fusion": "tte",
        "regularizer": OMEGA,
    },
    "running_mean": {
        "schedule": "branches",
        "fusion": {"name": "tte", "alpha_gamma": 0.5},
        "regularizer": {"name": "divergence", "anchor": "running_mean"},
    },
}


def run(trial: int = 0, resume: Path | None = None, **settings: Any) -> Pretrained:
    return pretrain(tiny_source(**settings), DATASET, {}, COMPUTE, trial, resume)


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def timeless(history: list[Any]) -> list[Any]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


@pytest.mark.parametrize("method", METHODS)
def test_interrupted_training_ends_with_the_same_bytes(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(**METHODS[method])
    original, calls = stand_ins.Brightness.make_batch, 0

    def fails(self: Any, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 15:  # within the second epoch
            raise KeyboardInterrupt
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stand_ins.Brightness, "make_batch", fails)
        with pytest.raises(KeyboardInterrupt):
            run(resume=tmp_path, **METHODS[method])
    done = len(torch.load(tmp_path / "state.pt", weights_only=True)["history"])
    assert 1 <= done < 3
    resumed = run(resume=tmp_path, **METHODS[method])
    assert same(whole.encoder, resumed.encoder)
    assert same(whole.heads, resumed.heads)
    assert timeless(whole.history) == timeless(resumed.history)
    finished = run(resume=tmp_path, **METHODS[method])  # nothing left to train
    assert same(whole.encoder, finished.encoder)


# Columns of every balancing are the contract's business.
@pytest.mark.parametrize("method", [name for name in METHODS if not name.startswith("joint_") or name == "joint_mgda"])
def test_history_has_the_same_finite_figures_in_every_epoch(method: str, tmp_path: Path) -> None:
    result = run(**METHODS[method])
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    late = set(result.history[-1])
    for row in result.history:
        assert set(row) == late
        assert all(math.isfinite(value) for value in row.values() if not isinstance(value, str))
    assert {
        f"{label(TURN)}.loss",
        f"{label(TURN)}.accuracy",
        f"{label(TURN)}.validation_loss",
        f"{label(TURN)}.validation_accuracy",
    } <= late
    own_turns = any(word in str(METHODS[method].get("schedule")) for word in ("sequential", "branches"))
    assert (f"{label(TURN)}.impact" in late) == ("impact_spread" in result.metrics) == own_turns
    assert (f"{label(TURN)}.fusion_jump" in late) == ("fusion" in METHODS[method])
    assert {f"share.{label(TURN)}.{unit}" in late for unit in ("early", "middle", "second")} == {
        "lasso" in str(METHODS[method])
    }
    assert {row[f"{label(TURN)}.chance_accuracy"] for row in result.history} == {0.25}
    assert (f"alpha.{label(TURN)}" in late) == ("tte" in str(METHODS[method]))
    assert result.metrics[f"{label(TURN)}.chance_accuracy"] == 0.25
    assert result.metrics[f"{label(TURN)}.loss"] == result.history[-1][f"{label(TURN)}.loss"]
    assert result.metrics["images_per_second"] > 0
    with (tmp_path / "history.csv").open("w") as file:  # rows are flat
        csv.DictWriter(file, sorted(late)).writerow(result.history[-1])


@pytest.mark.parametrize("settings", [{"schedule": "joint"}, {"schedule": "branches", "fusion": "tte"}])
def test_tasks_are_learned(settings: dict[str, Any]) -> None:
    result = run(epochs=8, iterations=24, optimizer={"learning_rate": 0.1}, **settings)
    first, last = result.history[0], result.history[-1]
    assert last[f"{label(TURN)}.validation_accuracy"] > 0.6  # chance is a quarter
    for task in map(label, (TURN, BRIGHTNESS)):
        assert last[f"{task}.loss"] < 0.8 * first[f"{task}.loss"]  # type: ignore[operator]


def plain_training(source: Any, trial: int) -> dict[str, Tensor]:
    """One task, trained by a plain loop with an optimiser restarted each epoch; weights before each epoch's end."""
    learner = Learner(source, DATASET, {}, COMPUTE, trial)
    (name,) = learner.names
    task, split, drawn_by = learner.tasks[name], DATASET.source_split(), learner.drawn_by[name]
    encoder, head = learner.encoder.train(), learner.head(name).train()
    for epoch in range(source.epochs):
        index = index_batches(len(split), 8, source.iterations, generator_of("batches", trial, epoch, drawn_by))
        generator = generator_of("pretext", trial, epoch, drawn_by)
        torch.manual_seed(seed_of(trial, "dropout", epoch, drawn_by))
        optimizer = make_optimizer(source.optimizer, ([encoder, head], 1.0))
        for step, rows in enumerate(index):
            rate = learning_rate_at(source.optimizer, epoch + step / source.iterations, source.epochs)
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = task.make_batch(split.images[rows], {}, generator)
            task.loss(head(encoder(batch.inputs)), batch.labels).backward()
            nn.utils.clip_grad_norm_([*encoder.parameters(), *head.parameters()], source.optimizer.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
    return dict(encoder.named_parameters())


def test_tte_of_one_task_and_all_layers_is_plain_training_with_the_optimizer_restarted() -> None:
    fusion = {"name": "tte", "layers": "all", "alpha": "uniform", "beta0": 0.0, "window": 1}
    settings: dict[str, Any] = {"tasks": [TURN], "schedule": "branches", "fusion": fusion}
    expected = plain_training(tiny_source(**settings), trial=3)
    result = run(trial=3, **settings)
    for name, parameter in result.encoder.named_parameters():
        assert_close(parameter, expected[name], rtol=1e-4, atol=1e-5)


def test_joint_step_adds_the_gradients_of_all_tasks() -> None:
    settings: dict[str, Any] = {
        "epochs": 1,
        "iterations": 2,
        "optimizer": {"learning_rate": 0.1, "clip_norm": None, "weight_decay": 0},
    }
    source = tiny_source(**settings)
    learner = Learner(source, DATASET, {}, COMPUTE, 0)
    encoder, total = learner.encoder.train(), 0.0
    torch.manual_seed(seed_of(0, "dropout", 0, TURN, BRIGHTNESS))
    for name, task in learner.tasks.items():
        drawn_by = learner.drawn_by[name]
        rows = index_batches(len(DATASET.train), 8, 1, generator_of("batches", 0, 0, drawn_by))[0]
        batch = task.make_batch(DATASET.train.images[rows], {}, generator_of("pretext", 0, 0, drawn_by))
        total = total + task.loss(learner.head(name).train()(encoder(batch.inputs)), batch.labels)
    parameters = dict(encoder.named_parameters())
    gradients = torch.autograd.grad(total, list(parameters.values()))
    result = dict(run(**settings).encoder.named_parameters())
    for (name, before), gradient in zip(parameters.items(), gradients, strict=True):
        assert_close(result[name], before - 0.1 * gradient, rtol=1e-4, atol=1e-6)


def tte_in_order(*tasks: str, task_gradient: bool) -> Pretrained:
    """Three epochs: in the first alpha is uniform and beta zero, in the others both follow the tasks' progress."""
    fusion = {"name": "tte", "window": 1, "task_gradient": task_gradient, "beta0": 1.0}
    return run(tasks=list(tasks), schedule={"name": "branches", "order": "fixed"}, iterations=9, fusion=fusion)


def columns(result: Pretrained, name: str) -> list[float]:
    return [
        float(row[name.format(task)]) for row in result.history for task in map(label, (TURN, BRIGHTNESS, CONTRAST))
    ]


def largest_difference(one: Pretrained, other: Pretrained) -> float:
    pairs = zip(one.encoder.parameters(), other.encoder.parameters(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


def test_without_the_task_gradient_branches_may_come_in_any_order() -> None:
    one = tte_in_order(TURN, BRIGHTNESS, CONTRAST, task_gradient=False)
    uneven = columns(one, "alpha.{}")[-3:]
    assert max(uneven) - min(uneven) > 0.01
    for order in ((CONTRAST, BRIGHTNESS, TURN), (BRIGHTNESS, TURN, CONTRAST)):
        other = tte_in_order(*order, task_gradient=False)
        for name in ("alpha.{}", "{}.loss"):
            assert columns(other, name) == pytest.approx(columns(one, name), rel=1e-4)
        assert largest_difference(one, other) < 1e-5
        assert [row["beta"] for row in other.history] == [0.0, 0.0, 0.0]


def test_beta_changes_its_sign_as_first_and_last_branch_change_places() -> None:
    one = tte_in_order(TURN, BRIGHTNESS, CONTRAST, task_gradient=True)
    reverse = tte_in_order(CONTRAST, BRIGHTNESS, TURN, task_gradient=True)
    betas = [float(row["beta"]) for row in one.history]
    assert betas[0] == 0.0
    assert min(abs(beta) for beta in betas[1:]) > 1e-3
    assert [-float(row["beta"]) for row in reverse.history] == pytest.approx(betas, rel=1e-3)
    # So does the step that beta weighs, from the first to the last: their product, and all else, stay.
    for name in ("alpha.{}", "{}.loss"):
        assert columns(reverse, name) == pytest.approx(columns(one, name), rel=1e-4)
    assert largest_difference(one, reverse) < 1e-5
    # With other tasks first and last, another step is added; alpha is not touched before that step is.
    another = tte_in_order(BRIGHTNESS, TURN, CONTRAST, task_gradient=True)
    assert columns(another, "alpha.{}")[:6] == pytest.approx(columns(one, "alpha.{}")[:6], rel=1e-4)
    assert another.history[1]["beta"] != pytest.approx(betas[1], rel=1e-2)
    assert largest_difference(one, another) > 1e-4
    assert largest_difference(one, tte_in_order(TURN, BRIGHTNESS, CONTRAST, task_gradient=False)) > 1e-4


def test_initial_weights_depend_on_the_trial_and_on_no_other_task() -> None:
    alone = Learner(tiny_source(tasks=[BRIGHTNESS]), DATASET, {}, COMPUTE, 0)
    among = Learner(tiny_source(tasks=[CONTRAST, TURN, BRIGHTNESS]), DATASET, {}, COMPUTE, 0)
    again = Learner(tiny_source(tasks=[BRIGHTNESS]), DATASET, {}, COMPUTE, 1)
    assert same(alone.encoder, among.encoder)
    assert same(alone.head(label(BRIGHTNESS)), among.head(label(BRIGHTNESS)))
    assert not same(alone.encoder, again.encoder)
    assert not same(alone.head(label(BRIGHTNESS)), again.head(label(BRIGHTNESS)))


@pytest.mark.parametrize("epochs", [0, 2])
def test_statistics_describe_plain_images_whatever_the_method(epochs: int) -> None:
    result = run(epochs=epochs, tasks=[TURN] if epochs else [], statistics_batches=6, batch_size=48, iterations=2)
    assert not result.encoder.training
    pixels = (DATASET.train.images.float() / 255 - 0.5) / 0.25  # batches of all images: every estimate is exact
    first = result.encoder.conv1(pixels)  # type: ignore[operator]
    assert_close(result.encoder.norm1.running_mean, first.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert_close(result.encoder.norm1.running_var, first.var(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert result.encoder.norm1.momentum == 0.1
    if epochs == 0:
        assert (result.history, len(result.heads), result.metrics) == ([], 0, {})
        assert same(result.encoder, run(epochs=0, statistics_batches=6, batch_size=48).encoder)


def test_validation_touches_nothing_and_repeats_itself() -> None:
    learner = Learner(
        tiny_source(regularizer={"name": "divergence", "anchor": "running_mean"}), DATASET, {}, COMPUTE, 0
    )
    everything = nn.ModuleList(learner.modules(learner.names))
    before = {name: tensor.clone() for name, tensor in everything.state_dict().items()}
    assert any(name.endswith("anchor.mean") for name in before)
    state = torch.get_rng_state()
    for task in map(label, (TURN, BRIGHTNESS)):  # their heads have a dropout and a batch norm
        first = validate(learner, [task])
        assert first == validate(learner, [task])
    assert torch.equal(state, torch.get_rng_state())
    for name, tensor in everything.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in everything.parameters())
    assert learner.encoder.training
    assert all(layer.track_running_stats for layer in everything.modules() if isinstance(layer, nn.BatchNorm2d))


def test_training_is_the_same_without_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"schedule": "branches", "fusion": "tte", "regularizer": OMEGA}
    observed = run(**settings)
    monkeypatch.setattr(epochs, "validate", lambda _, names, **__: {name: {"loss": 0.0} for name in names})
    blind = run(**settings)
    assert same(observed.encoder, blind.encoder)
    assert same(observed.heads, blind.heads)


def test_fusion_jump_is_the_rise_of_the_held_out_loss() -> None:
    settings: dict[str, Any] = {"schedule": "branches", "fusion": "average", "epochs": 1}
    both = run(tasks=[BRIGHTNESS, CONTRAST], iterations=6, **settings).history[0]
    for name in (BRIGHTNESS, CONTRAST):
        alone = run(tasks=[name], iterations=3, **settings).history[0]  # the same branch, fused with no other
        task = label(name)
        assert alone[f"{task}.fusion_jump"] == 0.0
        rise = both[f"{task}.validation_loss"] - alone[f"{task}.validation_loss"]  # type: ignore[operator]
        assert both[f"{task}.fusion_jump"] == pytest.approx(rise, abs=1e-6)
        assert abs(rise) > 1e-4


@pytest.mark.parametrize("feedback", [False, True])
def test_epochs_start_from_the_last_fusion_or_from_the_mean_which_is_exported(feedback: bool, tmp_path: Path) -> None:
    fusion = {"name": "tte", "window": 2, "window_feedback": feedback}
    result = run(schedule="branches", fusion=fusion, resume=tmp_path)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    last, other = state["fusion"]["window"][-1], state["fusion"]["window"][0]
    for name, parameter in result.encoder.named_parameters():
        mean = (last[name] + other[name]) / 2
        assert_close(parameter.data, mean)
        assert_close(state["encoder"][name], mean if feedback else last[name])
    assert not torch.equal(last["conv1.weight"], other["conv1.weight"])


def test_regularizer_keeps_features_nearer_to_the_previous_ones() -> None:
    settings: dict[str, Any] = {"schedule": "branches", "fusion": "average", "epochs": 4, "iterations": 40}
    weak, strong = (
        run(regularizer={"name": "divergence", "weight": weight}, **settings) for weight in (1e-3, 30.0)
    )  # recorded with its weight, as it is added to the loss
    assert weak.history[0][f"{label(TURN)}.regularizer"] == 0.0  # not yet active
    for task in map(label, (TURN, BRIGHTNESS)):
        assert strong.history[-1][f"{task}.regularizer"] / 30 < 0.7 * weak.history[-1][f"{task}.regularizer"] / 1e-3  # type: ignore[operator]


def test_loss_that_is_not_finite_names_task_epoch_and_remedy(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "optimizer": {"learning_rate": 1e9, "clip_norm": None},
        "tasks": [BRIGHTNESS],
        "iterations": 30,
    }
    with pytest.raises(TesseraError, match=r"`brightness` is (nan|inf) in epoch 1.*learning_rate"):
        run(resume=tmp_path, **settings)
    assert not list(tmp_path.iterdir())  # nothing of the kind is kept


def test_a_training_that_diverged_in_its_last_step_is_told_by_what_it_shows_held_out_images() -> None:
    """The loss of a step is taken before the step: that of the last one is fine."""
    settings: dict[str, Any] = {"tasks": [BRIGHTNESS], "epochs": 1, "iterations": 1}
    with pytest.raises(TesseraError, match=r"held-out loss of task `brightness` is (nan|inf) in epoch 1.*now 1e\+30"):
        run(**settings, optimizer={"learning_rate": 1e30, "clip_norm": None, "schedule": "constant"})


@pytest.mark.parametrize(
    ("delta", "clip_norm", "words"),
    [
        ("signed", 5.0, "learning_rate (now 1e+30) or source.optimizer.clip_norm (now 5), or set source.optimizer.w"),
        ("literal", None, "Use source.fusion.delta `signed`, or lower source.fusion.literal_scale (now 0.001). Lower "
         "source.optimizer.learning_rate (now 1e+30), or set source.optimizer.clip_norm (now null), or set"),
    ],
)  # fmt: skip
def test_a_fusion_that_diverged_advises_what_is_not_set_already(
    delta: str, clip_norm: float | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand_ins.Brightness, "loss", lambda *_: torch.zeros((), requires_grad=True) * 0)
    fusion = {"name": "tte", "delta": delta}

    def diverge(encoder: nn.Module) -> dict[str, Tensor]:
        return {name: tensor * math.inf for name, tensor in copy_state(encoder).items()}

    monkeypatch.setattr("tessera.multitask.epochs.copy_state", diverge)
    monkeypatch.setattr("torch.nn.Module.load_state_dict", lambda *_, **__: None)
    with pytest.raises(TesseraError) as caught:
        run(
            tasks=[BRIGHTNESS], schedule="branches", fusion=fusion,
            optimizer={"learning_rate": 1e30, "clip_norm": clip_norm},
        )  # fmt: skip
    assert words in str(caught.value)
    assert ("signed" in str(caught.value)) == (delta == "literal")


def test_bfloat16_learns_alike() -> None:
    settings: dict[str, Any] = {"schedule": "branches", "fusion": "tte", "regularizer": OMEGA}
    exact = run(**settings)
    half = pretrain(tiny_source(**settings), DATASET, {}, Compute(torch.device("cpu"), "bfloat16"), 0, None)
    assert half.metrics[f"{label(TURN)}.loss"] == pytest.approx(exact.metrics[f"{label(TURN)}.loss"], rel=0.1)
    assert all(tensor.dtype == torch.float32 for tensor in half.encoder.parameters())


def test_unlabelled_images_are_learned_from_but_by_supervised_tasks_and_heads_have_safe_names() -> None:
    splits = {**DATASET.splits, "unlabeled": tiny_dataset(num_train=5).train}
    dataset = type(DATASET)(DATASET.classes, 16, *DATASET.normalization, splits)
    learner = Learner(tiny_source(tasks=[TURN, "classification"]), dataset, {}, COMPUTE, 0)
    assert {name: len(split) for name, split in learner.splits.items()} == {label(TURN): 53, "classification": 48}
    assert head_key("classification.digit") == "classification:digit"
    assert learner.drawn_by == {label(TURN): TURN, "classification": "classification"}  # seeds are of the whole name
    assert ENCODER.startswith("multitask_stand_ins")


def test_training_figures_are_means_of_the_loss_at_every_and_of_metrics_at_some_steps() -> None:
    learner = Learner(tiny_source(tasks=[TURN]), DATASET, {}, COMPUTE, 0)
    turn = Turn(steps=((label(TURN),),) * 12)
    records: dict[str, list[dict[str, Tensor]]] = {label(TURN): []}
    optimizer = make_optimizer(learner.source.optimizer, (learner.modules([label(TURN)]), 1.0))
    learner.take(turn, 0, learner.feeds(0, [turn]), records, optimizer)
    assert ["accuracy" in record for record in records[label(TURN)]] == [step % 10 == 0 for step in range(12)]
    figures = means(records[label(TURN)])
    assert figures["loss"] == pytest.approx(sum(record["loss"].item() for record in records[label(TURN)]) / 12)
    expected = (records[label(TURN)][0]["accuracy"].item() + records[label(TURN)][10]["accuracy"].item()) / 2
    assert figures["accuracy"] == pytest.approx(expected)
