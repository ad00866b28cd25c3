"""Snapshots, `target.at`, `target.layer` and `target.pool_px` in a plan: which jobs they make, and what is refused."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from tessera.errors import StudyError
from tessera.jobs import Cell, Job
from tessera.registry import Options, load, parts
from tessera.study.plan import Plan

PlanOf = Callable[..., Plan]

BASE: dict[str, Any] = {
    "base/transfer": None,
    "base/target/protocol": "linear_probe",
    "at_scale": {"smoke": {"source": {"epochs": 6}}},
    "grid": {"rows": {"source.method": ["equal", "random"]}, "columns": {"target.protocol": ["linear_probe", "knn"]}},
    "also": [],
}
KEPT = {**BASE, "base/source/snapshots": [1, 4]}
ALONG = {**KEPT, "base/target/at": "all"}
STUDENTS = {**KEPT, "base/target/protocol": "classification", "base/transfer": "fine_tune",
            "base/target/network": "classifier", "grid": {"rows": {"source.method": ["equal"]}}}  # fmt: skip


@pytest.fixture
def plan_of(plan_of: PlanOf) -> PlanOf:
    """As it is, of changes that are left as they are."""
    return lambda changes: plan_of(deepcopy(changes))


def cell(plan: Plan, row: str, column: str) -> Cell:
    return next(cell for cell in plan.studies["small"].cells if (cell.row, cell.column) == (row, column))


def of_stage(plan: Plan, stage: str) -> list[Job]:
    return [job for job in plan.jobs.values() if job.stage == stage]


def test_all_measures_each_snapshot_and_the_end_by_jobs_of_their_own(plan_of: PlanOf) -> None:
    plan = plan_of(ALONG)
    for column in ("linear_probe", "knn"):
        measured = cell(plan, "equal", column)
        assert [point.epoch for point in measured.along] == [1, 4, 6]
        assert measured.along[-1].artifacts == measured.artifacts
        jobs = [[plan.jobs[folder] for folder in point.artifacts] for point in measured.along]
        assert [[job.settings.get("at") for job in trials] for trials in jobs] == [[1, 1], [4, 4], [None, None]]
        assert [job.trial for job in jobs[0]] == [0, 1]
        assert len({job.inputs["source"] for trials in jobs for job in trials}) == 2  # one encoder a trial
        assert ".epoch-4." in measured.along[1].artifacts[0]
    assert cell(plan, "random", "knn").along == ()  # a level
    assert len(of_stage(plan, "evaluate_target")) == 2 * 2 * (3 + 1)
    assert {job.folder for job in plan.jobs_of(["small"]).values()} == set(plan.studies["small"].artifacts)


def test_the_end_is_measured_by_the_same_job_with_and_without_the_way_there(plan_of: PlanOf) -> None:
    assert plan_of(KEPT).jobs.keys() < plan_of(ALONG).jobs.keys()


def test_another_protocol_trains_nothing_anew(plan_of: PlanOf) -> None:
    one, more = (
        plan_of({**ALONG, "grid": {**BASE["grid"], "columns": {"target.protocol": names}}})
        for names in (["knn"], ["knn", "svm"])
    )
    added = more.jobs.keys() - one.jobs.keys()
    assert {more.jobs[folder].stage for folder in added} == {"evaluate_target"}
    assert one.jobs.keys() < more.jobs.keys()


def test_snapshots_at_their_default_change_no_key_and_are_one_choice_however_written(plan_of: PlanOf) -> None:
    plain = plan_of(BASE).jobs.keys()
    assert plan_of({**BASE, "base/source/snapshots": {"every": 6}}).jobs.keys() == plain  # the end alone
    folders = [
        {job.folder for job in of_stage(plan_of({**BASE, "base/source/snapshots": asked}), "pretrain_source")}
        for asked in ({"every": 2}, [2, 4], [2, 4, 6], {"epochs": [2, 4]})
    ]
    assert all(each == folders[0] for each in folders)
    assert {job.folder for job in of_stage(plan_of(KEPT), "pretrain_source")} != folders[0]
    kept = of_stage(plan_of(KEPT), "pretrain_source")
    untrained = [job for job in kept if job.settings["source"]["epochs"] == 0]
    assert {job.folder for job in untrained} < set(plain)


def test_an_epoch_that_is_named_is_the_snapshot_that_all_measures(plan_of: PlanOf) -> None:
    named, every = plan_of({**KEPT, "base/target/at": 4}), plan_of(ALONG)
    assert cell(named, "equal", "knn").artifacts == cell(every, "equal", "knn").along[1].artifacts
    assert cell(named, "equal", "knn").along == ()
    assert cell(named, "random", "knn").artifacts == cell(every, "random", "knn").artifacts
    end = plan_of({**KEPT, "base/target/at": 6})
    assert end.jobs.keys() == plan_of(KEPT).jobs.keys()


def test_epochs_may_be_columns_in_which_a_baseline_stands(plan_of: PlanOf) -> None:
    plan = plan_of({**KEPT, "grid": {**BASE["grid"], "columns": {"target.at": [1, 4, "last"]}}})
    columns = plan.studies["small"].columns
    assert len({cell(plan, "random", column).artifacts for column in columns}) == 1
    assert len({cell(plan, "equal", column).artifacts for column in columns}) == len(columns) == 3


def test_students_and_what_was_recorded_for_them_learn_from_the_named_encoder(plan_of: PlanOf) -> None:
    views = {"base/target/views": "fixed 2", "base/transfer": "pkt", "base/target/network": "reduced_alexnet"}
    for more, stages in (({}, {"transfer_knowledge"}), (views, {"transfer_knowledge", "record_teacher"})):
        last, named = plan_of({**STUDENTS, **more}), plan_of({**STUDENTS, **more, "base/target/at": 4})
        assert {job.stage for job in named.jobs.values() if job.settings.get("at") == 4} == stages
        assert not any("at" in job.settings for job in last.jobs.values())
        assert plan_of({**STUDENTS, **more, "base/target/at": "all"}).jobs.keys() == last.jobs.keys()


def test_a_clustering_follows_the_training_too(plan_of: PlanOf) -> None:
    plan = plan_of({**ALONG, "base/target/protocol": "clustering", "grid": {"rows": {"source.method": ["equal"]}}})
    assert sorted(str(job.settings.get("at")) for job in of_stage(plan, "cluster_target")) == 2 * ["1"] + 2 * ["4"] + (
        2 * ["None"]
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base/source/snapshots": [0, 3]}, "`source.snapshots`: should be 1 or more, but one is 0: leave"),
        ({"base/source/snapshots": [3, 3]}, "`source.snapshots`: names epoch 3 twice: leave one out"),
        ({"base/source/snapshots": [5, 2, 3]},
         "`source.snapshots`: should ascend, but 2 stands after 5: write [2, 3, 5]"),
        ({"base/source/snapshots": []}, "`source.snapshots`: names no epoch: leave snapshots out"),
        ({"base/source/snapshots": ["x"]}, "`source.snapshots`: should list epochs, as whole numbers, but one is 'x'"),
        ({"base/source/snapshots": 3},
         "`source.snapshots`: should be `{every: 5}` or a list such as `[1, 2, 5]`, but is 3"),
        ({"base/source/snapshots": {"every": 0}}, "`source.snapshots.every`: should be greater than or equal to 1"),
        ({"base/source/snapshots": {"evry": 2}}, "`source.snapshots.evry`: unknown key. Did you mean 'every'?"),
        ({"base/source/snapshots": {"every": 2, "epochs": [1]}}, "should say `every` or `epochs`, and not both"),
        ({"base/source/snapshots": [2, 7]},
         "snapshots: epoch 7 is asked for, but the training ends after epoch 6 (`source.epochs`): choose epochs up to "
         "it, at this scale under `at_scale`, or raise source.epochs"),
        ({"base/source/snapshots": {"every": 7}}, "snapshots: the first of `every: 7` is epoch 7, but the training"),
        ({"base/target/at": 3}, "at: the source keeps no snapshot of epoch 3: it has none, and the end, epoch 6. Name"),
        ({"base/target/at": 3, "base/source/snapshots": [1, 4]},
         "at: the source keeps no snapshot of epoch 3: it has those of epochs 1, 4, and the end, epoch 6. Name one of "
         "them, or add 3 to source.snapshots"),
        ({"base/target/at": "all"},
         "at: `all` measures every snapshot of the encoder, but the source keeps none: set source.snapshots, such as"),
        ({"base/target/at": 0}, "`target.at`: should be `last`, `all` or an epoch, from 1 on, but is 0"),
        ({"base/target/at": "first"}, "`target.at`: should be `last`, `all` or an epoch, from 1 on, but is 'first'"),
        ({"base/target/layer": "stage4"},
         "`target.layer`: encoder `resnet8` has no layer `stage4`. Did you mean 'stage3'? Known: stage1, stage1.first"),
        ({"base/target/layer": "stage2", "base/target/protocol": {"name": "knn", "layer": "stage1"},
          "grid": {"rows": {"source.method": ["equal"]}}},
         "layer: `stage2`, but target.protocol.layer is `stage1`: keep one of them"),
        ({"base/target/pool_px": 3, "base/target/protocol": {"name": "svm", "pool_px": 2},
          "grid": {"rows": {"source.method": ["equal"]}}},
         "pool_px: `3`, but target.protocol.pool_px is `2`: keep one of them"),
        ({"base/target/pool_px": 9}, "`target.pool_px`: should be less than or equal to 8, but is 9"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(plan_of: PlanOf, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyError) as caught:
        plan_of({**BASE, **changes})
    assert words in str(caught.value)
    assert "config/studies/small.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grid/rows": [{"source.method": "random", "source.snapshots": [1]}]},
         "`source.snapshots`: no job of this cell does what it asks for: the encoder is untrained"),
        ({"grid/rows": [{"source.method": "random", "target.at": "all"}]},
         "`target.at`: no job of this cell does what it asks for: the source's encoder is not trained"),
        ({"grid/columns": {"target.layer": ["stage1"]}, "base/target/protocol": "clustering"},
         "`target.layer`: no job of this cell does what it asks for: protocol `clustering` reads no layer that can be "
         "chosen. Leave it out, or set `target.protocol` to `decision_tree`, `few_shot`, `knn`"),
        ({"grid/columns": {"target.at": ["all"]}, **{k: v for k, v in STUDENTS.items() if k.startswith("base")}},
         "`target.at`: no job of this cell does what it asks for: transfer `fine_tune` reads one encoder. Name an ep"),
        ({"grid/columns": {"target.at": [1]}, "base/target/protocol": "classification",
          "base/transfer": {"method": "none"}},
         "`target.at`: no job of this cell does what it asks for: transfer `none` reads no source"),
    ],
)  # fmt: skip
def test_what_no_job_does_is_refused(plan_of: PlanOf, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyError) as caught:
        plan_of({**KEPT, **changes})
    assert words in str(caught.value)


@pytest.mark.parametrize("protocol", ["linear_probe", "knn", "svm", "decision_tree", "few_shot", "tsne"])
def test_a_layer_and_its_pooling_are_the_protocols_own(plan_of: PlanOf, protocol: str) -> None:
    alone = {**BASE, "grid": {"rows": {"source.method": ["equal"]}}}
    ours = plan_of({**alone, "base/target": {"dataset": "digits_m", "protocol": protocol,
                                             "layer": "stage2", "pool_px": 2}})  # fmt: skip
    theirs = plan_of({**alone, "base/target/protocol": {"name": protocol, "layer": "stage2", "pool_px": 2}})
    assert ours.jobs.keys() == theirs.jobs.keys()
    (settings, _) = [job.settings["protocol"] for job in of_stage(ours, "evaluate_target")]
    assert (settings["layer"], settings["pool_px"]) == ("stage2", 2)
    last = plan_of({**alone, "base/target/protocol": protocol, "base/target/layer": "stage3"})
    assert last.jobs.keys() == plan_of({**alone, "base/target/protocol": protocol}).jobs.keys()  # as without a name


def test_layers_may_be_columns(plan_of: PlanOf) -> None:
    plan = plan_of({**BASE, "grid/columns": {"target.layer": ["stage1", "stage2"], "target.pool_px": [1, 2]}})
    assert len({cell.artifacts for cell in plan.studies["small"].cells if cell.row == "equal"}) == 4


@pytest.mark.parametrize(
    "form",
    [
        *({"name": name} for name in parts("encoder") if name not in ("timm", "vgg")),
        *({"name": "vgg", "depth": depth, "pools": pools} for depth, pools in ((8, 3), (13, 5), (19, 4))),
        {"name": "resnet18", "stem": "7x7"},
        *({"name": "resnet50", "stem_stride": 1, **more} for more in ({"stem_pool": False}, {"dilate": True})),
    ],
    ids=str,
)
def test_encoders_say_their_layers_and_how_large_maps_are_before_they_are_built(form: dict[str, Any]) -> None:
    import torch

    options: Options = parts("encoder")[form["name"]].options.model_validate(form)
    with torch.device("meta"):
        built = load("encoder", form["name"])(options)
        maps = built.layers(torch.empty(2, 3, 65, 96))
    assert options.layers == tuple(built.layer_channels)  # type: ignore[attr-defined]
    for layer, stride in options.strides.items():  # type: ignore[attr-defined]
        assert maps[layer].shape[-2:] == (-(-65 // stride), 96 // stride)


def test_a_layer_that_options_do_not_know_is_looked_for_in_the_encoder(plan_of: PlanOf) -> None:
    """An inner one, and one that the protocol itself names."""

    def plan(layer: str) -> Plan:
        protocol = {"name": "linear_probe", "layer": layer}
        columns = {"columns": {"target.protocol": [protocol]}, "rows": BASE["grid"]["rows"]}
        return plan_of({**BASE, "grid": columns})

    assert plan("stage2.first").jobs
    with pytest.raises(
        StudyError, match=r"`target\.protocol\.layer`: encoder `resnet8` has no layer `stage9`\. Did you"
    ):
        plan("stage9")


@pytest.mark.parametrize(
    ("encoder", "layer", "image_px", "map_px"),
    [
        ("resnet8", "stage3", 25, 7),
        ("resnet8", None, 25, 7),
        ("resnet8", "stage3.first", 25, 7),  # an inner one, which the encoder itself knows
        ({"name": "alexnet", "stride": 1}, None, 32, 2),
        ({"name": "vgg", "depth": 8, "pools": 4}, None, 32, 2),
        ({"name": "resnet50"}, "layer4.unit1", 32, 1),
    ],
)
def test_a_map_smaller_than_it_would_be_pooled_to_is_told(
    encoder: Any, layer: str | None, image_px: int, map_px: int, plan_of: PlanOf
) -> None:
    dataset = {"name": "digits_m", "image_size": image_px}

    def plan(target: dict[str, Any]) -> Plan:
        columns = [{"label": "probe", "target": {"protocol": {"name": "linear_probe"}, "layer": layer, **target}}]
        grid = {"rows": BASE["grid"]["rows"], "columns": columns}
        return plan_of({
            **BASE, "base/source/encoder": encoder, "base/target/dataset": dataset,
            "grid": grid,
        })  # fmt: skip

    assert plan({"pool_px": map_px}).jobs
    assert plan_of({**BASE, "base/source/encoder": "segnet", "base/target/pool_px": 2}).jobs  # 1 px on the way, of 32
    told = (
        rf"is {map_px + 1}, but of images of {image_px} x {image_px} px .* has a map of {map_px} x {map_px} px: lower"
    )
    for key, target in (
        ("pool_px", {"pool_px": map_px + 1}),
        ("protocol.pool_px", {"protocol": {"name": "linear_probe", "pool_px": map_px + 1}}),
    ):
        with pytest.raises(StudyError, match=rf"`target\.{key}` {told}"):
            plan(target)
