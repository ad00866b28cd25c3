"""What every way of sharing keeps: bytes after a kill, precision, balancing, stored tasks, the encoder alone."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from multitask_stand_ins import LABELLED, SHARED, TURN, UNIT_NORMS, UNITS, tiny_source, two_labels
from sharing_stand_ins import STAGES, WAYS
from torch import nn
from torch.testing import assert_close

from encoders import BY_NAME
from tessera import registry
from tessera.models.encoders.base import Encoder
from tessera.multitask.batch_norm import batch_norms, batch_statistics
from tessera.multitask.epochs import Pretrained
from tessera.multitask.gradients import leave_gradients
from tessera.multitask.learner import Learner
from tessera.multitask.pretrain import pretrain
from tessera.multitask.schedule.base import Turn
from tessera.multitask.sharing.base import Sharing
from tessera.multitask.step import SharedInput
from tessera.training.compute import Compute

COMPUTE = Compute(torch.device("cpu"), "float32")
NAMES = ["classification", "classification.shade"]
ONE_ENCODER = [way for way in WAYS if way != "cross_stitch"]
QUICK_WAYS = ("mtan", "model_patch")


def source_of(way: str, **settings: Any) -> Any:
    encoder = UNITS if way == "lasso" else STAGES
    return tiny_source(**{"tasks": LABELLED, "sharing": WAYS[way], "encoder": encoder, "epochs": 2, **settings})


def run(source: Any, precision: str = "float32", resume: Path | None = None) -> Pretrained:
    return pretrain(source, two_labels(), {}, Compute(torch.device("cpu"), precision), 0, resume)


def same(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return set(theirs) == set(one.state_dict()) and all(
        torch.equal(tensor, theirs[key]) for key, tensor in one.state_dict().items()
    )


PARTS: dict[str, dict[str, Any]] = {
    "own": {"regularizer": "dgr"},
    "own, by gradient": {"balancing": "pcgrad", "optimizer": {"learning_rate": 0.05, "weight_decay": 1e-3}},
    "shared, by last layer": {"schedule": SHARED, "balancing": "gradnorm", "regularizer": "pta"},
    "shared, by gradient": {"schedule": SHARED, "balancing": UNIT_NORMS, "regularizer": "sam"},
    "shared, looking ahead": {"schedule": SHARED, "balancing": "auto_lambda"},
    "one task a step": {"schedule": {"name": "sequential", "reset_optimizer": False}},
}
QUICK = (("cross_stitch", "shared, by last layer"), ("mtan", "own, by gradient"), ("model_patch", "own"))


@pytest.mark.parametrize(
    ("way", "how"),
    [(w, h) if (w, h) in QUICK else pytest.param(w, h, marks=pytest.mark.slow) for w in WAYS for h in PARTS],
)
def test_a_killed_run_ends_with_the_same_bytes_and_bfloat16_is_near(
    way: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(way, iterations=4, **PARTS[how])
    whole, take = run(source), Learner.take

    def fails(self: Learner, turn: Any, epoch: int, *others: Any) -> None:
        take(self, turn, epoch, *others)
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "take", fails)
        with pytest.raises(KeyboardInterrupt):
            run(source, resume=tmp_path)
    resumed = run(source, resume=tmp_path)
    assert all(tensor.isfinite().all() for tensor in whole.encoder.state_dict().values())
    for part in ("encoder", "sharing", "heads"):
        assert same(getattr(whole, part), getattr(resumed, part)), part
    rough = run(source, "bfloat16")
    for name in NAMES:
        key = f"{name}.validation_loss"
        assert float(rough.history[-1][key]) == pytest.approx(float(whole.history[-1][key]), rel=0.25)


@pytest.mark.parametrize("way", WAYS)
def test_what_tasks_share_gets_the_weighed_sum_of_their_gradients_by_autograd(way: str) -> None:
    """Of gradients of length one each, over encoder and shared parameters together; heads and the rest as they are."""
    learner = Learner(source_of(way, schedule=SHARED, balancing=UNIT_NORMS), two_labels(), {}, COMPUTE, 0)
    for module in learner.modules(NAMES):
        module.double().eval()
    batches = next(learner.feeds(0, [Turn(steps=(tuple(NAMES),), shared=True)])[NAMES[0]])
    batches = {name: batch._replace(inputs=batch.inputs.double()) for name, batch in batches.items()}
    step = SharedInput(learner, NAMES, {name: [] for name in NAMES}, batches)
    shared, everything = learner.shared, step.parameters
    losses = [each.loss for each in step.losses()]
    rows = [
        torch.autograd.grad(loss, everything, retain_graph=True, allow_unused=True, materialize_grads=True)
        for loss in losses
    ]
    among = [any(p is other for other in shared) for p in everything]
    norms = [
        torch.cat([g.flatten() for g, common in zip(row, among, strict=True) if common]).norm().item() for row in rows
    ]
    leave_gradients(step, learner.balancing, shared)
    for p, common, *gradients in zip(everything, among, *rows, strict=True):
        factors = [1 / norm if common else 1.0 for norm in norms]
        expected = sum(factor * gradient for factor, gradient in zip(factors, gradients, strict=True))
        assert isinstance(expected, torch.Tensor)
        found = torch.zeros_like(p) if p.grad is None else p.grad
        assert_close(found, expected, rtol=1e-5, atol=1e-9)
    reached = [all(row[i].any() for row in rows) for i in range(len(everything))]
    # What both losses reach is shared: but for lasso's alignments, and norms that every task has of its own.
    assert all(common or not both for common, both in zip(among, reached, strict=True)) or way == "lasso"
    encoders = [m for part in (learner.encoder, learner.sharing) for m in part.modules() if isinstance(m, Encoder)]
    assert len(encoders) == (2 if way == "cross_stitch" else 1)
    assert {id(p) for p in step.last_layer} == {id(p) for m in encoders for p in m.last_layer.parameters()}
    assert {id(p) for p in step.last_layer} <= {id(p) for p in shared}


@pytest.mark.parametrize(
    "way", [way if way in QUICK_WAYS else pytest.param(way, marks=pytest.mark.slow) for way in ONE_ENCODER]
)
def test_tte_and_the_earlier_encoder_of_the_divergence_see_one_encoder(way: str) -> None:
    source = source_of(
        way, schedule="branches", fusion={"name": "tte", "window": 2}, regularizer="divergence", epochs=3
    )
    parts = source.schedule, source.fusion, source.regularizer, source.sharing
    assert not [line for part in parts for line in part.clashes(source)]
    made = run(source)
    assert all(tensor.isfinite().all() for tensor in made.encoder.state_dict().values())
    assert all(f"{name}.regularizer" in made.history[0] for name in NAMES)


@pytest.mark.parametrize("way", WAYS)
def test_every_batch_norm_ends_with_statistics_of_plain_images(way: str) -> None:
    """Those of one batch are the moments of what the layer saw of it: in the network of the tasks, and alone."""
    source = source_of(way, statistics_batches=1, epochs=1)
    made = run(source)
    learner = Learner(source, two_labels(), {}, COMPUTE, 0)
    (images,) = learner.plain_batches()
    _check_moments(made.encoder, [made.encoder], lambda: made.encoder(images))
    modules, maps_of = [made.encoder, made.sharing], partial(made.sharing.maps, made.encoder, tasks=NAMES)
    _check_moments(
        made.sharing, modules, lambda: list(map(partial(made.sharing.features, maps=maps_of(images)), NAMES))
    )


@pytest.mark.parametrize("way", ["mtan", "model_patch"])
def test_norms_of_a_task_that_no_plain_image_is_for_keep_what_the_training_left(way: str) -> None:
    tasks: list[Any] = [*LABELLED[:1], TURN]
    sharing, alone = (run(source_of(way, tasks=some, epochs=1)).sharing for some in (tasks, [TURN]))
    own = batch_norms((sharing.attention if way == "mtan" else sharing.patches)["turn"])  # type: ignore[index, arg-type, union-attr]
    assert own
    assert all(norm.num_batches_tracked == 3 and norm.running_mean.any() for norm in own)  # type: ignore[union-attr, operator]
    theirs = batch_norms((alone.attention if way == "mtan" else alone.patches)["turn"])  # type: ignore[index, arg-type, union-attr]
    assert all(norm.num_batches_tracked == 6 for norm in theirs)


def _check_moments(of: nn.Module, modules: list[nn.Module], see: Any) -> None:
    means = {norm: norm.running_mean.clone() for norm in batch_norms(of)}  # type: ignore[union-attr]
    if not means:
        return
    seen: list[Any] = []

    def look(module: nn.Module, inputs: Any) -> None:
        seen.append((module._buffers.get("running_mean"), inputs[0].mean(dim=(0, 2, 3))))

    handles = [norm.register_forward_pre_hook(look) for module in modules for norm in batch_norms(module)]
    with torch.no_grad(), batch_statistics(of):  # the rest as it was when these were estimated
        see()
    of.eval()
    for handle in handles:
        handle.remove()
    for norm, mean in means.items():
        # By the tensor that the layer held when it ran: a stand-in's is the encoder's while this runs.
        found = [moment for buffer, moment in seen if buffer is norm.running_mean]
        assert found, f"{norm} was never asked"
        assert_close(found[-1] if len(found) == 1 else torch.stack(found).mean(0), mean, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_a_pass_for_all_tasks_gives_what_a_pass_for_each_gives(way: str) -> None:
    learner = Learner(source_of(way), two_labels(), {}, COMPUTE, 0)
    encoder, sharing = learner.encoder.eval(), learner.sharing.eval()
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        together = sharing.maps(encoder, images, NAMES)
        for name in NAMES:
            alone = sharing.features(name, sharing.maps(encoder, images, [name]))
            assert torch.equal(sharing.features(name, together), alone)
            assert alone.shape[:2] == (2, encoder.num_features)


def test_hard_sharing_of_one_task_is_what_these_are() -> None:
    ways = ["hard", "cross_stitch", "model_patch"]
    made = [run(source_of(way, tasks=LABELLED[:1])) for way in ways]
    for other in made[1:]:
        assert same(made[0].encoder, other.encoder)
        assert same(made[0].heads, other.heads)


@pytest.mark.parametrize(
    "name",
    [name if name in ("alexnet", "resnet8") else pytest.param(name, marks=pytest.mark.slow) for name in BY_NAME],
)
@pytest.mark.parametrize("way", WAYS)
def test_every_encoder_can_be_shared_so_or_is_refused(way: str, name: str) -> None:
    part = registry.find("encoder", name)
    options = part.options.model_validate({"name": name} | ({"width": "eighth"} if name == "segnet" else {}))
    with torch.device("meta"):
        encoder: Encoder = registry.load("encoder", name)(options)
        found = tiny_source(encoder=options, sharing=WAYS[way])
        refused = list(found.sharing.clashes(found))
        assert bool(refused) == (way == "model_patch" and not batch_norms(encoder))
        if refused:
            return
        build = partial(registry.load("encoder", name), options)
        sharing: Sharing = registry.load("sharing", found.sharing.name)(found.sharing, encoder, ["a", "b"], build)
        z = encoder.train()(torch.empty(2, 3, 64, 64))
        maps = sharing.maps(encoder, torch.empty(2, 3, 64, 64), ["a", "b"])
        assert sharing.features("b", maps).shape == z.shape
