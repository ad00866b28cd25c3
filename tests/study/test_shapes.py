"""Images whose sides differ: what cannot take them is refused before any job starts."""

from typing import Any

import pytest

from tessera.data.datasets.options.digits import DigitsMOptions
from tessera.errors import StudyError

LABELLED = {"base/source/tasks": ["classification"]}


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DigitsMOptions, "shape", lambda self: (self.image_size, 2 * self.image_size))


def test_a_task_that_makes_its_own_labels_needs_squares(plan_of: Any) -> None:
    with pytest.raises(StudyError, match="jigsaw needs square images, but those of dataset `digits_m` have 32 x 64 px"):
        plan_of()


def test_a_network_that_needs_squares_names_one_that_does_not(plan_of: Any) -> None:
    message = (
        "network `reduced_alexnet` needs square images, but .* have 32 x 64 px: .* set target.network to `classifier`"
    )
    with pytest.raises(StudyError, match=message):
        plan_of({**LABELLED, "base/transfer": {"method": "none"}})


def test_tasks_that_learn_labels_and_any_encoder_take_them(plan_of: Any) -> None:
    assert plan_of({**LABELLED, "base/target": {"dataset": "digits_m", "network": "classifier"}}).jobs
