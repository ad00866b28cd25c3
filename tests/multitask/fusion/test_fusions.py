"""Fusions on given branches: Eq. 7 to 10 by plain loops, and what must hold whatever the branches."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from multitask_stand_ins import TinyEncoder
from torch.testing import assert_close

from tessera import registry
from tessera.errors import StudyError, TesseraError
from tessera.multitask.fusion.average import Average
from tessera.multitask.fusion.base import Branch
from tessera.multitask.fusion.gradients import canberra
from tessera.multitask.fusion.none import NoFusion
from tessera.multitask.fusion.options import AverageOptions, NoFusionOptions, TteOptions
from tessera.multitask.fusion.states import State, copy_state, layer_parameters
from tessera.multitask.fusion.tte import TemporalTaskEnsemble

TASKS = ("a", "b", "c")
LOSSES = {"a": 1.0, "b": 2.0, "c": 3.0}
LATER = {"a": 0.9, "b": 2.0, "c": 3.3}  # progress ratios 0.9, 1, 1.1
ENCODER = TinyEncoder()
FUSED = ["conv1.weight", "conv1.bias"]


def moved(state: State, scale: float = 0.1) -> State:
    return {k: v + scale * torch.rand_like(v) - scale / 3 if v.is_floating_point() else v + 5 for k, v in state.items()}


def parallel(start: State, ends: Mapping[str, State]) -> list[Branch]:
    return [Branch((task,), start, end, parallel=True) for task, end in ends.items()]


def chain(start: State, *tasks: str) -> list[Branch]:
    branches = []
    for task in tasks:
        branches.append(Branch((task,), start, moved(start), parallel=False))
        start = branches[-1].end
    return branches


@pytest.fixture
def start() -> State:
    return copy_state(TinyEncoder())


def tte(**options: Any) -> TemporalTaskEnsemble:
    return TemporalTaskEnsemble(TteOptions(**options))


def equation_9(
    previous: State, branches: list[Branch], name: str, alpha: Mapping[str, float], beta: float
) -> list[float]:
    """The signed reading, element by element."""
    ends = {branch.tasks[0]: branch.end[name].flatten().tolist() for branch in branches}
    old = previous[name].flatten().tolist()
    size = len(old)
    changes = {task: [end[i] - old[i] for i in range(size)] for task, end in ends.items()}
    scale = sum(sum(abs(x) for x in change) / size for change in changes.values()) / len(changes)
    first, last = ends[branches[0].tasks[0]], ends[branches[-1].tasks[0]]
    result = []
    for i in range(size):
        step = scale * (last[i] - first[i]) / (abs(last[i]) + abs(first[i]) + 1e-12)
        result.append(old[i] + sum(alpha[task] * changes[task][i] for task in changes) + beta * step)
    return result


def test_golden_canberra() -> None:
    assert_close(canberra(torch.tensor([1.0, 3.0, 0.0]), torch.tensor([-1.0, 3.0, 0.0])), torch.tensor([1.0, 0.0, 0.0]))


def test_eq_9_and_the_rest_by_plain_loops(start: State) -> None:
    fusion = tte()
    fusion.fuse(start, parallel(start, {task: moved(start) for task in TASKS}), LOSSES, ENCODER)
    branches = parallel(start, {task: moved(start) for task in TASKS})
    fused = fusion.fuse(start, branches, LATER, ENCODER)
    alpha = {task: fused.figures[f"alpha.{task}"] for task in TASKS}
    assert alpha == pytest.approx({"a": 3 * 0.2693, "b": 3 * 0.3289, "c": 3 * 0.4018}, abs=3e-4)
    parameters = {name for name, _ in ENCODER.named_parameters()}
    assert fused.figures["beta"] == pytest.approx(0.01)
    for name, tensor in fused.state.items():
        if name in FUSED:
            expected = torch.tensor(equation_9(start, branches, name, alpha, 0.01)).view_as(tensor)
        elif name in parameters:  # the sum of the changes
            expected = sum((branch.end[name] for branch in branches), -2 * start[name])
        elif tensor.is_floating_point():
            expected = sum(branch.end[name] for branch in branches) / 3  # type: ignore[assignment]
        else:
            expected = branches[-1].end[name]
        assert_close(tensor, expected, rtol=1e-5, atol=1e-7)
    for branch in branches:
        change = torch.cat([(branch.end[name] - start[name]).flatten() for name in FUSED])
        assert fused.impacts[branch.tasks[0]] == pytest.approx(change.abs().mean().item(), rel=1e-5)


def test_task_gradient_over_the_layer_scale_is_the_canberra_distance(start: State) -> None:
    ends = {task: moved(start) for task in TASKS}
    without, with_step = tte(task_gradient=False), tte(beta0=1.0)
    for fusion in (without, with_step):
        fusion.fuse(start, parallel(start, ends), LOSSES, ENCODER)
    plain = without.fuse(start, parallel(start, ends), LATER, ENCODER)
    stepped = with_step.fuse(start, parallel(start, ends), LATER, ENCODER)
    assert plain.figures["beta"] == 0.0
    name = "conv1.weight"
    scale = torch.stack([(end[name] - start[name]).abs().mean() for end in ends.values()]).mean()
    step = (stepped.state[name] - plain.state[name]) / (stepped.figures["beta"] * scale)
    assert_close(step.abs(), canberra(ends["a"][name], ends["c"][name]), rtol=1e-2, atol=1e-4)


def test_order_matters_for_beta_alone(start: State) -> None:
    ends = {task: moved(start) for task in TASKS}
    turned = {task: ends[task] for task in reversed(TASKS)}
    one, other = tte(), tte()
    first = [fusion.fuse(start, parallel(start, e), LOSSES, ENCODER) for fusion, e in ((one, ends), (other, turned))]
    second = [fusion.fuse(start, parallel(start, e), LATER, ENCODER) for fusion, e in ((one, ends), (other, turned))]
    for fused in (first, second):
        for name, tensor in fused[0].state.items():
            if tensor.is_floating_point():  # beta and the step both change sign
                assert_close(tensor, fused[1].state[name], rtol=1e-5, atol=1e-7)
    assert second[0].figures["beta"] == pytest.approx(-second[1].figures["beta"])
    assert second[0].figures["alpha.a"] == pytest.approx(second[1].figures["alpha.a"])


@pytest.mark.parametrize("options", [{}, {"delta": "norm_equalised"}, {"alpha_gamma": 1.0}, {"layers": "all"}])
def test_identical_branches_fuse_to_themselves_where_weights_sum_to_one(start: State, options: dict[str, Any]) -> None:
    fusion, end = tte(alpha_total=1.0, **options), moved(start)
    for losses in (LOSSES, LATER):
        fused = fusion.fuse(start, parallel(start, dict.fromkeys(TASKS, end)), losses, ENCODER)
        for name, tensor in fused.state.items():
            assert_close(tensor, end[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sequential", [False, True])
def test_the_rest_moves_with_alpha_total_but_no_statistics(start: State, sequential: bool) -> None:
    branches = chain(start, *TASKS) if sequential else parallel(start, {task: moved(start) for task in TASKS})
    fused = tte(alpha_total=2.5, beta0=0.0).fuse(start, branches, LOSSES, ENCODER).state
    parameters = [name for name, _ in ENCODER.named_parameters() if name not in FUSED]
    for name, tensor in fused.items():
        if name in parameters:
            changes = [(branch.end[name] - branch.start[name]).flatten().tolist() for branch in branches]
            for i, (old, new) in enumerate(zip(start[name].flatten().tolist(), tensor.flatten().tolist(), strict=True)):
                assert new == pytest.approx(old + 2.5 * sum(change[i] for change in changes) / 3, abs=1e-5)
        elif name not in FUSED and tensor.is_floating_point():  # statistics
            assert_close(tensor, torch.stack([branch.end[name] for branch in branches]).mean(dim=0))
    assert {"norm1.weight", "conv2.weight"} <= set(parameters)
    assert "norm1.running_var" in fused


def test_fused_layers_that_would_move_out_of_step_with_the_rest_are_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha_total null, the number of tasks.*Set alpha_total: 1, or layers: all"):
        TteOptions(scale_rest=False)
    with pytest.raises(ValueError, match="alpha_total 2: the fused layers would move further"):
        TteOptions(scale_rest=False, alpha_total=2.0)
    for fine in ({"alpha_total": 1.0}, {"layers": "all"}, {"rest": "last"}):
        TteOptions(scale_rest=False, **fine)  # type: ignore[arg-type]


def test_norm_equalised_gives_every_branch_the_same_magnitude(start: State) -> None:
    name = "conv1.weight"
    small, large = (
        {k: v + size * torch.sign(v) if v.is_floating_point() else v for k, v in start.items()} for size in (0.01, 0.03)
    )
    fusion = tte(delta="norm_equalised", alpha="fixed", alpha_values=(1.0, 0.0), alpha_total=1.0)
    fused = fusion.fuse(start, parallel(start, {"a": small, "b": large}), {"a": 1.0, "b": 1.0}, ENCODER)
    assert_close((fused.state[name] - start[name]).abs().mean(), torch.tensor(0.02), rtol=1e-4, atol=0)
    still = tte(delta="norm_equalised").fuse(
        start, parallel(start, {"a": start, "b": large}), {"a": 1.0, "b": 1.0}, ENCODER
    )
    assert all(tensor.isfinite().all() for tensor in still.state.values())


def test_literal_only_grows_the_fused_layers_and_leaves_the_others(start: State) -> None:
    end = moved(start)
    unfused = {name: tensor for name, tensor in end.items() if name not in FUSED}
    fusion = tte(delta="literal", literal_scale=0.5, alpha_total=1.0)
    fusion.fuse(start, parallel(start, dict.fromkeys(TASKS, end)), LOSSES, ENCODER)
    fused = fusion.fuse(start, parallel(start, dict.fromkeys(TASKS, end)), LATER, ENCODER)
    assert fused.figures["beta"] == 0.1
    for name in FUSED:  # identical branches: no Canberra distance
        assert_close(fused.state[name], start[name] + 0.5 * (end[name] - start[name]).abs(), rtol=1e-5, atol=1e-6)
    for name, tensor in unfused.items():
        assert_close(fused.state[name], tensor, rtol=1e-5, atol=1e-6)


def test_weights_that_are_not_finite_are_refused(start: State) -> None:
    end = moved(start)
    end["conv1.bias"] = end["conv1.bias"] * float("inf")
    with pytest.raises(TesseraError, match=r"`conv1\.bias`.*literal_scale"):
        tte(delta="literal").fuse(start, parallel(start, dict.fromkeys(TASKS, end)), LOSSES, ENCODER)


def test_sequential_deltas(start: State) -> None:
    branches = chain(start, *TASKS)
    total = {"layers": "all", "alpha": "fixed", "alpha_values": (1.0, 1.0, 1.0), "alpha_total": 3.0}
    own = tte(sequential_delta="own", **total).fuse(start, branches, LOSSES, ENCODER)
    cumulative = tte(sequential_delta="cumulative", **total).fuse(start, branches, LOSSES, ENCODER)
    name = "conv2.weight"
    assert_close(own.state[name], branches[-1].end[name], rtol=1e-5, atol=1e-6)  # the plain sequential result
    expected = start[name] + sum(branch.end[name] - start[name] for branch in branches)
    assert_close(cumulative.state[name], expected, rtol=1e-5, atol=1e-6)
    last = tte(rest="last", layers="stage_last").fuse(start, branches, LOSSES, ENCODER)
    assert_close(last.state["conv1.weight"], branches[-1].end["conv1.weight"], rtol=0, atol=0)
    assert not torch.equal(last.state[name], branches[-1].end[name])


@pytest.mark.parametrize("name", ["none", "average", "tte"])
def test_window_exports_the_mean_of_the_last_states(name: str, start: State) -> None:
    part = registry.find("fusion", name)
    window = 1 if name == "none" else 3
    fusion = registry.load("fusion", name)(part.options(**({} if name == "none" else {"window": window})))
    states = []
    for _ in range(5):
        states.append(fusion.fuse(start, chain(start, *TASKS), LOSSES, ENCODER).state)
        kept = states[-window:]
        expected = torch.stack([state["conv2.weight"] for state in kept]).mean(dim=0)
        assert_close(fusion.export()["conv2.weight"], expected)
        assert_close(fusion.next_start()["conv2.weight"], states[-1]["conv2.weight"], rtol=0, atol=0)
    restored = registry.load("fusion", name)(fusion.options)
    restored.load_state_dict(fusion.state_dict())
    for key, tensor in fusion.export().items():
        assert torch.equal(tensor, restored.export()[key])


def test_window_of_one_exports_the_last_state_to_the_bit_and_feedback_starts_from_the_mean(start: State) -> None:
    one, feedback = tte(window=1), Average(AverageOptions(window=2, window_feedback=True))
    ends = [chain(start, *TASKS) for _ in range(2)]
    fused = [one.fuse(start, end, LOSSES, ENCODER).state for end in ends]
    assert all(torch.equal(tensor, fused[-1][name]) for name, tensor in one.export().items())
    for end in ends:
        feedback.fuse(start, end, LOSSES, ENCODER)
    assert_close(feedback.next_start()["conv1.bias"], feedback.export()["conv1.bias"])
    means = [torch.stack([branch.end["conv1.bias"] for branch in end]).mean(dim=0) for end in ends]
    assert_close(feedback.next_start()["conv1.bias"], (means[0] + means[1]) / 2)


def test_branches_that_a_fusion_cannot_use_are_refused(start: State) -> None:
    joint = [Branch(TASKS, start, moved(start), parallel=False)]
    with pytest.raises(ValueError, match="one branch a task"):
        tte().fuse(start, joint, LOSSES, ENCODER)
    branches = parallel(start, {task: moved(start) for task in TASKS})
    with pytest.raises(ValueError, match="use rest `mean`"):
        tte(rest="last").fuse(start, branches, LOSSES, ENCODER)
    with pytest.raises(ValueError, match="2 alpha_values for 3 tasks"):
        tte(alpha="fixed", alpha_values=(1, 1)).fuse(start, branches, LOSSES, ENCODER)
    with pytest.raises(ValueError, match="need a fusion"):
        NoFusion(NoFusionOptions()).fuse(start, branches, LOSSES, ENCODER)
    assert Average(AverageOptions()).fuse(start, joint, LOSSES, ENCODER).impacts == {}


def test_layers() -> None:
    assert layer_parameters(ENCODER, "conv_before_pool") == FUSED
    assert layer_parameters(ENCODER, "stage_last") == ["conv2.weight"]
    assert layer_parameters(ENCODER, "all_conv") == [*FUSED, "conv2.weight"]
    assert layer_parameters(ENCODER, "all") == [name for name, _ in ENCODER.named_parameters()]
    with pytest.raises(StudyError, match="TinyEncoder has no `nowhere`"):
        layer_parameters(ENCODER, "nowhere")
