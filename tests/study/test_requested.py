"""A target that nothing makes is told in a line; what is a target is not guessed."""

from collections.abc import Callable

import pytest

from tessera.errors import StudyError
from tessera.study.plan import Plan
from tessera.study.requested import refuse_unknown, targets_in

RULES = ["all", "small", "all_pretrain_source", "pretrain_source"]


@pytest.mark.parametrize(
    ("line", "targets"),
    [
        ("-n small", ["small"]),
        ("small --cores 2 --resources gpu=2 mem_mb=5 b", ["small"]),
        ("--cores 2 small", ["small"]),
        ("-c2 small", ["small"]),
        ("--cores=2 small", ["small"]),
        ("--config a=1 b=2", []),
        ("--configfile x.yaml y.yaml", []),
        ("--until small -- tiny", ["tiny"]),
        ("--some-new-option small", []),
        ("-n -p artifacts/source/x/artifact.json", ["artifacts/source/x/artifact.json"]),
    ],
)
def test_targets_of_a_command_line(line: str, targets: list[str]) -> None:
    assert targets_in(line.split()) == targets


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("smal", r"no such study, stage or file 'smal'\. Did you mean 'small'\?"),
        ("all_pretrain_sorce", "Did you mean 'all_pretrain_source'"),
        ("results/small/provenance-00000000.json", r"no study makes .* Its tables are now results/small/provenance-"),
        ("results/smal/provenance-00000000.json", r"no study makes .* Did you mean 'small'"),
        ("artifacts/source/nothing/artifact.json", "no job of the studies makes"),
    ],
)
def test_a_target_that_nothing_makes(plan_of: Callable[..., Plan], target: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        refuse_unknown([target], plan_of(), RULES)


def test_targets_that_are_there(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of()
    job = next(iter(plan.jobs.values()))
    good = [*RULES, job.manifest, f"./{job.manifest}", plan.studies["small"].marker, "results/small/table.csv"]
    refuse_unknown(good, plan, RULES)
    with pytest.raises(StudyError, match=f"Did you mean '{job.manifest}'"):
        refuse_unknown([job.folder], plan, RULES)
