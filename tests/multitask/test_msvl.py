"""MSVL as a whole: its steps, its budget beside TTE's, gray images, and its methods as they are shipped."""

from collections import Counter
from pathlib import Path
from typing import Any

import multitask_stand_ins as stand_ins
import pytest
import torch
from multitask_stand_ins import BRIGHTNESS, CONTRAST, TURN, UNITS, UnitsEncoder, tiny_dataset, tiny_source
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from tessera.multitask import epochs
from tessera.multitask.balancing.equal import Equal
from tessera.multitask.balancing.options.losses import EqualOptions
from tessera.multitask.epochs import Pretrained
from tessera.multitask.feeds import gray
from tessera.multitask.learner import Learner
from tessera.multitask.pretrain import pretrain
from tessera.multitask.schedule.base import Turn
from tessera.multitask.sharing.lasso import LassoSharing
from tessera.multitask.sharing.options import LassoSharingOptions
from tessera.registry import label
from tessera.study.resolve import Presets, Resolver
from tessera.study.schema import Experiment
from tessera.training.compute import Compute
from tessera.training.optimizer import make_optimizer
from tessera.training.randomness import generator_of, index_batches

COMPUTE = Compute(torch.device("cpu"), "float32")
DATASET = tiny_dataset()
ROOT = Path(__file__).parents[2]
PLAIN = {"learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0, "clip_norm": None, "schedule": "constant"}
LASSO = {"name": "lasso", "weight": 0.2, "lr_factor": 5.0}


def run(**settings: Any) -> Pretrained:
    return pretrain(tiny_source(**{"encoder": UNITS, **settings}), DATASET, {}, COMPUTE, 0, None)


def resolved(method: str, scale: str = "paper", base: dict[str, Any] | None = None) -> Experiment:
    settings = {
        "source.dataset": "cifar10",
        "source.tasks": ["jigsaw", "colorization"],
        "target.dataset": "cifar10",
        **(base or {}),
    }
    return Resolver(Presets(ROOT), scale, settings, "study.yaml").resolve({"source.method": method}, "row")


def first_batch(learner: Learner, name: str) -> Any:
    drawn_by = learner.drawn_by[name]
    rows = index_batches(len(DATASET.train), 8, 1, generator_of("batches", 0, 0, drawn_by))[0]
    generator = generator_of("pretext", 0, 0, drawn_by)
    return learner.tasks[name].make_batch(DATASET.train.images[rows], {}, generator)


def test_a_step_moves_encoder_and_row_by_loss_and_penalty_and_reports_the_loss_alone() -> None:
    settings: dict[str, Any] = {
        "encoder": UNITS, "tasks": [BRIGHTNESS], "epochs": 1, "iterations": 1, "sharing": LASSO, "optimizer": PLAIN,
    }  # fmt: skip
    learner = Learner(tiny_source(**settings), DATASET, {}, COMPUTE, 0)
    encoder, sharing, head = learner.encoder.train(), learner.sharing, learner.head(label(BRIGHTNESS)).train()
    assert isinstance(sharing, LassoSharing)
    sharing.rows[0].data = torch.tensor([1.0, 2.0, -1.0])
    copy = Learner(tiny_source(**settings), DATASET, {}, COMPUTE, 0)
    copy.sharing.load_state_dict(sharing.state_dict())
    batch, free = first_batch(learner, label(BRIGHTNESS)), sharing.rows[0]
    row = free / free.square().sum().sqrt()
    maps = encoder.maps(batch.inputs, UnitsEncoder.unit_layers)
    aligned = [sharing.alignments[0](maps["early"]), maps["middle"], maps["second"]]
    loss = learner.tasks[label(BRIGHTNESS)].loss(
        head(sum(a * m for a, m in zip(row, aligned, strict=True))), batch.labels
    )
    penalty = 0.2 * row.abs().sum()
    weights = [encoder.conv1.weight, sharing.alignments[0].weight, free]  # type: ignore[list-item,union-attr]
    gradients = torch.autograd.grad(loss + penalty, weights)

    turn = training_turn(copy, label(BRIGHTNESS))
    expected = [w - rate * g for w, g, rate in zip(weights, gradients, (0.1, 0.1, 0.5), strict=True)]
    found = [copy.encoder.conv1.weight, copy.sharing.alignments[0].weight, copy.sharing.rows[0]]  # type: ignore[index]
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert turn["loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert penalty.item() > 0.2


def training_turn(learner: Learner, name: str) -> dict[str, Tensor]:
    records: dict[str, list[dict[str, Tensor]]] = {name: []}
    turn = Turn(steps=((name,),))
    optimizer = make_optimizer(learner.source.optimizer, *learner.groups([name]))
    learner.take(turn, 0, learner.feeds(0, [turn]), records, optimizer)
    return records[name][0]


def test_averaged_heads_are_the_mean_of_the_gradients() -> None:
    shared = torch.nn.Parameter(torch.randn(4))
    balancing = Equal(EqualOptions(average=True), ["0", "1", "2"])
    for task, target in enumerate(targets := torch.randn(3, 4)):
        balancing.scale(str(task), ((shared - target) ** 2).sum(), 3).backward()
    assert shared.grad is not None
    assert_close(shared.grad, 2 * (shared.detach() - targets.mean(dim=0)))
    one, other = (run(tasks=[TURN], sharing="lasso", balancing={"name": "equal", "average": a}) for a in (False, True))
    assert (
        one.history[-1][f"{label(TURN)}.loss"] == other.history[-1][f"{label(TURN)}.loss"]
    )  # of one head nothing changes


# Batches and updates of the encoder in all, of 3 epochs of 12 iterations and three tasks.
@pytest.mark.parametrize(
    ("method", "scope", "batches", "updates"),
    [
        ("tte", "total", 36, 36),
        ("msvl", "total", 36, 36),
        ("msvl_window", "total", 36, 36),
        ("msvl_accumulate", "total", 36, 12),
        ("msvl_accumulate", "per_task", 108, 36),
    ],
)
def test_budget_is_that_of_tte(
    method: str, scope: str, batches: int, updates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[str] = Counter()

    def counting(self: Any, *arguments: Any) -> Any:
        counts[self.options.name] += 1
        return original(self, *arguments)

    parts = resolved(method).source.model_dump(
        include={"sharing", "schedule", "balancing", "regularizer", "fusion"}, mode="json"
    )
    parts["schedule"]["iterations_scope"] = scope
    steps = 0

    def step(self: torch.optim.SGD, closure: Any = None) -> None:
        nonlocal steps
        steps += 1
        sgd_step(self)

    original, sgd_step = stand_ins.Brightness.make_batch, torch.optim.SGD.step
    tasks = [BRIGHTNESS, CONTRAST, f"{__name__}:Third"]
    monkeypatch.setattr(epochs, "validate", lambda _, names, **__: {name: {"loss": 0.0} for name in names})
    monkeypatch.setattr("tessera.multitask.epochs.make_previews", lambda _: {})
    monkeypatch.setattr(stand_ins.Brightness, "make_batch", counting)
    monkeypatch.setattr(torch.optim.SGD, "step", step)
    run(tasks=tasks, iterations=12, **parts)
    assert counts == dict.fromkeys(tasks, batches // 3)
    assert steps == updates


class Third(stand_ins.Brightness):
    """One more."""


def test_gray_is_pillow_s_luma_and_leaves_gray_images_alone() -> None:
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    images[0] = torch.randint(0, 256, (1, 8, 8), dtype=torch.uint8)
    images[1], images[2] = 255, 0
    shown = gray(images)
    assert (shown.shape, shown.dtype) == (images.shape, torch.uint8)
    for image, result in zip(images, shown, strict=True):
        luma = Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")
        expected = torch.tensor(list(luma.tobytes()), dtype=torch.uint8).view(8, 8)
        assert all(torch.equal(channel, expected) for channel in result)
    assert torch.equal(shown[:3], images[:3])


class Colorful(stand_ins.Brightness):
    """A task that predicts colours."""

    Options = type("ColorfulOptions", (stand_ins.Brightness.Options,), {"needs_color": True})


@pytest.mark.parametrize("harmonize", [False, True])
def test_harmonized_tasks_see_gray_wherever_they_look_unless_they_need_colours(
    harmonize: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[Tensor]] = {}
    original = stand_ins.Brightness.make_batch

    def watching(self: Any, images: Tensor, *arguments: Any) -> Any:
        seen.setdefault(self.options.name, []).append(images)
        return original(self, images, *arguments)

    monkeypatch.setattr(stand_ins.Brightness, "make_batch", watching)
    tasks = [BRIGHTNESS, f"{__name__}:Colorful"]
    run(tasks=tasks, harmonize=harmonize, epochs=1, schedule="round_robin")
    for name, expected in zip(tasks, (harmonize, False), strict=True):
        assert len(seen[name]) == 3 + 2 + 1  # batches in training, of the held-out images, and a preview's
        for images in seen[name]:
            is_gray = bool((images == images[:, :1]).all())
            assert is_gray == expected
    rows = index_batches(len(DATASET.train), 8, 3, generator_of("batches", 0, 0, BRIGHTNESS))[0]
    shown = DATASET.train.images[rows]
    assert torch.equal(seen[BRIGHTNESS][0], gray(shown) if harmonize else shown)


@pytest.mark.parametrize(("scale", "window"), [("paper", 5), ("smoke", 1), ("quickstart", 2)])
def test_the_window_of_the_control_is_that_of_tte_at_every_scale(scale: str, window: int) -> None:
    control, tte = resolved("msvl_window", scale).source, resolved("tte", scale).source
    assert control.fusion.name == "average"
    assert control.fusion.window == tte.fusion.window == window  # type: ignore[attr-defined]
    assert (control.schedule, control.sharing) == (resolved("msvl", scale).source.schedule, LassoSharingOptions())


def test_the_control_exports_the_mean_of_msvl_s_last_encoders_and_trains_as_msvl() -> None:
    settings: dict[str, Any] = {"sharing": "lasso", "schedule": "round_robin", "optimizer": PLAIN}
    msvl = [run(epochs=epochs, **settings) for epochs in (1, 2, 3)]
    control = run(epochs=3, fusion={"name": "average", "window": 3}, **settings)
    for row, other in zip(msvl[-1].history, control.history, strict=True):
        assert row[f"{label(TURN)}.loss"] == other[f"{label(TURN)}.loss"]
        assert other[f"{label(TURN)}.fusion_jump"] == 0.0  # one branch: nothing is merged
    states = [dict(result.encoder.named_parameters()) for result in msvl]
    for name, parameter in control.encoder.named_parameters():
        assert_close(parameter, torch.stack([state[name] for state in states]).mean(dim=0), rtol=1e-5, atol=1e-6)


def test_msvl_is_msvl_whatever_the_study_s_base_says() -> None:
    base = {"source.method": "tte", "source.fusion": {"window": 3}, "source.regularizer": {"weight": 0.5}}
    for method, name in (("msvl", "round_robin"), ("msvl_accumulate", "joint"), ("msvl_window", "round_robin")):
        source = resolved(method, base=base).source
        assert (source.sharing.name, source.schedule.name, source.regularizer.name) == ("lasso", name, "none")
    assert resolved("msvl_accumulate").source.balancing == EqualOptions(average=True)
