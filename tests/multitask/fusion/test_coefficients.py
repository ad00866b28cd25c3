"""Alpha and beta: golden values and the properties that any replacement must have."""

import pytest

from tessera.multitask.fusion.coefficients import progress_ratios, task_weight, temporal_weights
from tessera.multitask.fusion.options import TteOptions

RATIOS = [0.9, 1.0, 1.1, 1.0]
EVEN = [1.0] * 4


@pytest.mark.parametrize(
    ("tau", "expected"),
    [
        (2.0, [0.2377, 0.2498, 0.2627, 0.2498]),
        (1.0, [0.2256, 0.2494, 0.2756, 0.2494]),
        (0.5, [0.2026, 0.2475, 0.3023, 0.2475]),
    ],
)
def test_golden_alphas(tau: float, expected: list[float]) -> None:
    assert temporal_weights(RATIOS, EVEN, TteOptions(alpha_tau=tau, alpha_total=1.0)) == pytest.approx(
        expected, abs=1e-4
    )


def test_golden_betas() -> None:
    assert task_weight(0.9, 1.1, 0.1) == pytest.approx(0.01)
    assert task_weight(1.1, 0.9, 0.1) == pytest.approx(-0.01)
    assert task_weight(1.3, 1.3, 0.1) == 0.0
    assert abs(task_weight(0.5, 2.0, 0.1)) < 0.1


def test_ratios_are_clipped_start_at_one_and_are_blind_to_the_loss_scale() -> None:
    losses, before = {"a": 0.9, "b": 1e-9, "c": 50.0, "d": -1.0}, {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}
    assert progress_ratios(losses, None) == {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}
    assert progress_ratios(losses, before) == pytest.approx({"a": 0.9, "b": 0.5, "c": 2.0, "d": 1.0})
    scaled = progress_ratios({k: 7 * v for k, v in losses.items()}, {k: 7 * v for k, v in before.items()})
    assert scaled == pytest.approx(progress_ratios(losses, before))


@pytest.mark.parametrize(
    "options",
    [
        TteOptions(alpha_total=2.0),
        TteOptions(alpha="uniform", alpha_total=2.0),
        TteOptions(alpha="inv_ratio", alpha_total=2.0),
        TteOptions(alpha="fixed", alpha_values=(1, 2, 3, 0), alpha_total=2.0),
        TteOptions(alpha_gamma=1.0, alpha_total=2.0),
    ],
)
def test_alphas_are_not_negative_and_add_up(options: TteOptions) -> None:
    for impacts in (EVEN, [0.0, 1.0, 5.0, 1e-9], [0.0] * 4):
        alphas = temporal_weights(RATIOS, impacts, options)
        assert min(alphas) >= 0
        assert sum(alphas) == pytest.approx(2.0)


def test_rules() -> None:
    assert temporal_weights([1.0] * 4, EVEN, TteOptions(alpha_total=2.0)) == pytest.approx([0.5] * 4)
    assert temporal_weights(RATIOS, EVEN, TteOptions(alpha="uniform")) == pytest.approx([1.0] * 4)
    assert temporal_weights(RATIOS, EVEN, TteOptions(alpha="uniform", alpha_total=1.0)) == pytest.approx([0.25] * 4)
    assert temporal_weights([0.5, 2.0], [1, 1], TteOptions(alpha="inv_ratio")) == pytest.approx([1.6, 0.4])
    fixed = TteOptions(alpha="fixed", alpha_values=(3.0, 1.0), alpha_total=2.0)
    assert temporal_weights([0.5, 2.0], [1, 1], fixed) == pytest.approx([1.5, 0.5])
    slow_gets_more = temporal_weights([0.8, 1.2], [1, 1], TteOptions())
    assert slow_gets_more[1] > slow_gets_more[0]


def test_gamma_divides_by_the_impact() -> None:
    ones = [1.0, 1.0]
    assert temporal_weights(ones, [1.0, 4.0], TteOptions(alpha_gamma=1.0)) == pytest.approx([1.6, 0.4])
    assert temporal_weights(ones, [1.0, 4.0], TteOptions(alpha_gamma=0.5)) == pytest.approx([4 / 3, 2 / 3])
