"""The learning rate over a training: `wsd` against a loop over its steps, and what does not depend on the end."""

from typing import Any

import pytest
from pydantic import ValidationError

from tessera.training.learning_rate import learning_rate_at, learning_rates
from tessera.training.options import OptimizerOptions
from tessera.training.steps import cure


def slow(peak: float, warmup: int, decay: int, total: int, power: float) -> list[float]:
    """Step by step; lengths in steps."""
    rates = []
    for step in range(total):
        if step < warmup:
            rates.append(peak * step / warmup)
        elif step < total - decay:
            rates.append(peak)
        else:
            rates.append(peak - peak * ((step - (total - decay)) / decay) ** power)
    return rates


@pytest.mark.parametrize(("shape", "power"), [("sqrt", 0.5), ("linear", 1.0)])
@pytest.mark.parametrize(("epochs", "decay", "warmup"), [(6, 2, 1.0), (5, 1, 0.5), (4, 4, 0.0), (3, 2, 1.0)])
def test_wsd_is_that_of_a_loop_over_its_steps(shape: Any, power: float, epochs: int, decay: int, warmup: float) -> None:
    iterations = 8
    options = OptimizerOptions(learning_rate=0.3, schedule="wsd", decay_epochs=decay, decay=shape, warmup_epochs=warmup)
    found = [rate for epoch in range(epochs) for rate in learning_rates(options, epoch, epochs, iterations)]
    expected = slow(0.3, round(warmup * iterations), decay * iterations, epochs * iterations, power)
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert learning_rate_at(options, epochs, epochs) == 0
    by_epochs = [learning_rate_at(options, step / iterations, epochs) for step in range(epochs * iterations)]
    assert by_epochs == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "wsd", "decay_epochs": 3, "warmup_epochs": 1.3},
        {"schedule": "wsd", "decay_epochs": 3, "decay": "linear"},
        {"schedule": "constant", "warmup_epochs": 1.3},
    ],
)
def test_the_beginning_is_the_same_bit_for_bit_whatever_the_end(options: dict[str, Any]) -> None:
    made = OptimizerOptions(learning_rate=0.07, **options)
    for epochs in (7, 11, 50):
        for epoch in range(made.unmoved_epochs(7)):
            assert learning_rates(made, epoch, epochs, 7) == learning_rates(made, epoch, 7, 7)
            for part in range(7):
                done = epoch + part / 7
                assert learning_rate_at(made, done, epochs) == learning_rate_at(made, done, 7)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"schedule": "wsd"}, "schedule `wsd` needs decay_epochs"),
        ({"schedule": "wsd", "decay_epochs": 0}, "greater than or equal to 1"),
        ({"schedule": "wsd", "decay_epochs": 1, "warmup": 0.1}, "under schedule `wsd` set warmup_epochs alone"),
        ({"schedule": "constant", "warmup_epochs": 1, "warmup": 0.1}, "under schedule `constant` set warmup_epochs"),
        ({"schedule": "cosine", "warmup_epochs": 1}, "but schedule is `cosine`: set warmup, a fraction"),
        ({"schedule": "cosine", "warmup_epochs": 1, "warmup": 0.1}, "but schedule is `cosine`: set warmup alone"),
        ({"schedule": "steps", "decay_epochs": 1}, "but schedule is `steps`: set decay_epochs to null"),
        ({"schedule": "constant", "decay": "linear"}, "but schedule is `constant`: leave decay out"),
    ],
)
def test_what_a_schedule_would_pass_over_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        OptimizerOptions(**options)


def test_new_options_are_left_out_of_a_dump_by_default() -> None:
    assert not {"warmup_epochs", "decay_epochs", "decay"} & OptimizerOptions(schedule="constant").model_dump().keys()


def test_a_cure_names_the_warm_up_that_fits_the_schedule() -> None:
    wsd = OptimizerOptions(schedule="wsd", decay_epochs=1)
    assert cure(wsd, "source").endswith("or set source.optimizer.warmup_epochs.")
    assert "warmup" not in cure(wsd.model_copy(update={"warmup_epochs": 1.0}), "source")
