"""Cross-stitch sharing: the units by plain loops, identities as separate networks, what is handed on."""

from itertools import product
from typing import Any

import pytest
import torch
from multitask_stand_ins import LABELLED, SHARED, tiny_source, two_labels
from sharing_stand_ins import STAGES, TASKS, Stages, segnet, sharing_of
from torch import Tensor
from torch.testing import assert_close

from tessera.multitask.epochs import Pretrained
from tessera.multitask.learner import Learner, _seeded
from tessera.multitask.pretrain import pretrain
from tessera.multitask.sharing.cross_stitch import CrossStitchSharing
from tessera.training.compute import Compute
from tessera.training.optimizer import make_optimizer
from tessera.training.options import OptimizerOptions

COMPUTE = Compute(torch.device("cpu"), "float32")
NAMES = ["classification", "classification.shade"]


def stitched(found: list[Tensor], rows: Any) -> list[Tensor]:
    """x'_k of all tasks, one value after the other."""
    made = []
    for k in range(len(found)):
        mixed = torch.zeros_like(found[0])
        for n, c, y, x in product(*(range(side) for side in mixed.shape)):
            mixed[n, c, y, x] = sum(rows[k][j][c].item() * one[n, c, y, x] for j, one in enumerate(found))
        made.append(mixed)
    return made


@torch.no_grad()
def test_units_mix_the_maps_of_every_stage_channel_by_channel() -> None:
    encoder, images = Stages().eval(), torch.randn(2, 3, 8, 8)
    sharing = sharing_of("cross_stitch", encoder, ["a", "b", "c"]).eval()
    for rows in sharing.units:
        for row in rows:
            row.copy_(torch.randn_like(row))
    columns = [encoder, sharing.columns["b"], sharing.columns["c"]]
    kept: list[dict[str, Any]] = [{}, {}, {}]
    made = [images] * 3
    for stage in (0, 1):
        found = [column.stages()[stage][1](one, own) for column, one, own in zip(columns, made, kept, strict=True)]
        made = stitched(found, [sharing.alpha(stage, task) for task in "abc"])
    maps = sharing.maps(encoder, images, ["c", "a"])
    assert_close(sharing.features("a", maps), made[0])
    assert_close(sharing.features("c", maps), made[2])


@pytest.mark.parametrize(("tasks", "others"), [(["a", "b.c"], 0.1), (["a", "b.c", "d"], 0.05)])
def test_units_start_as_the_paper_s_and_a_row_sums_to_one(tasks: list[str], others: float) -> None:
    sharing = sharing_of("cross_stitch", Stages(), tasks)
    for stage, channels in enumerate((4, 6)):
        for place, task in enumerate(tasks):
            expected = torch.full((len(tasks), channels), others)
            expected[place] = 0.9
            assert_close(sharing.alpha(stage, task), expected)
    figures = sharing.figures()
    assert list(figures) == [f"stitch.{task}.{stage}" for stage in ("first", "second") for task in tasks]
    assert all(value == pytest.approx(0.9) for value in figures.values())


def test_units_learn_faster_and_do_not_decay() -> None:
    sharing = sharing_of("cross_stitch", Stages(), lr_factor=50.0)
    optimizer = make_optimizer(OptimizerOptions(weight_decay=0.1), *sharing.groups())
    found = {id(p): (g["factor"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert set(found) == {id(p) for p in sharing.parameters()}
    assert {found[id(p)] for p in sharing.units.parameters()} == {(50.0, 0.0)}
    assert {found[id(p)][0] for p in sharing.columns.parameters()} == {1.0}


def test_with_identities_as_units_it_is_a_network_for_each_task_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained on the same batches; the units are held, and the encoders start alike as those of the runs alone do."""

    def run(tasks: list[Any], **settings: Any) -> Pretrained:
        source = tiny_source(tasks=tasks, schedule=SHARED, encoder=STAGES, **settings)
        return pretrain(source, two_labels(), {}, COMPUTE, 0, None)

    monkeypatch.setattr(
        Learner, "_fresh_encoders", lambda self: lambda: _seeded(lambda: Stages(self.source.encoder), 0, "encoder")
    )
    monkeypatch.setattr(CrossStitchSharing, "groups", lambda self: [([self.columns], 1.0)])
    both = run(LABELLED, sharing={"name": "cross_stitch", "own": 1.0})
    (column,) = both.sharing.columns.values()  # type: ignore[operator, union-attr]
    for tasks, encoder in ((LABELLED[:1], both.encoder), (LABELLED[1:], column)):
        alone = run(tasks)
        for name, tensor in alone.encoder.state_dict().items():
            if encoder is both.encoder or "num_batches" not in name:
                assert torch.equal(tensor, encoder.state_dict()[name]), name
        (key,) = alone.heads
        for name, tensor in alone.heads[key].state_dict().items():
            assert torch.equal(tensor, both.heads[key].state_dict()[name])


def test_the_encoder_that_is_handed_on_is_that_of_the_task_and_both_have_statistics() -> None:
    sharing = {"name": "cross_stitch", "export": NAMES[1]}
    source = tiny_source(tasks=LABELLED, encoder=STAGES, sharing=sharing, epochs=1, statistics_batches=1)
    made = pretrain(source, two_labels(), {}, COMPUTE, 0, None)
    assert list(made.sharing.columns) == [NAMES[0].replace(".", ":")]  # type: ignore[arg-type]
    first, second = made.sharing.statistics  # type: ignore[misc]
    assert_close(first.running_mean, made.encoder.norm1.running_mean)  # before any unit
    assert not torch.allclose(second.running_mean, made.encoder.norm2.running_mean, rtol=0.05)  # type: ignore[operator, union-attr, arg-type]


@torch.no_grad()
def test_pooling_indices_are_each_encoder_s_own() -> None:
    encoder, images = segnet().eval(), torch.randn(2, 3, 32, 32)
    sharing = sharing_of("cross_stitch", encoder, own=1.0).eval()
    maps = sharing.maps(encoder, images, TASKS)
    assert torch.equal(sharing.features("a", maps), encoder(images))
    assert torch.equal(sharing.features("b.c", maps), sharing.columns["b:c"](images))


def test_the_second_encoder_starts_otherwise_and_depends_on_the_trial_alone() -> None:
    def learner(trial: int, tasks: list[Any]) -> Learner:
        return Learner(
            tiny_source(tasks=tasks, encoder=STAGES, sharing="cross_stitch"), two_labels(), {}, COMPUTE, trial
        )

    one, again, other = learner(0, LABELLED), learner(0, LABELLED[::-1]), learner(1, LABELLED)
    columns = [next(iter(each.sharing.columns.values())).conv1.weight for each in (one, again, other)]  # type: ignore[operator, union-attr]
    assert not torch.equal(columns[0], one.encoder.conv1.weight)  # type: ignore[arg-type]
    assert torch.equal(columns[0], columns[1])
    assert not torch.equal(columns[0], columns[2])
    build = one._fresh_encoders()
    assert not torch.equal(build().conv1.weight, build().conv1.weight)  # type: ignore[union-attr, arg-type]
