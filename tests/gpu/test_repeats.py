"""A seed gives the same bytes again, and a training that was interrupted ends with the bytes of one that was not."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gpu_cases import LABELLED, SHARED, dataset, prepared, same_bytes, source, task

from tessera.multitask import pretrain as pretraining
from tessera.multitask.pretrain import pretrain
from tessera.training.checkpoint import Checkpoint
from tessera.training.compute import Compute

pytestmark = pytest.mark.usefixtures("repeatable")

FOUR = [task(name) for name in ("jigsaw", "colorization", "segmentation", "reconstruction")]
TTE = {"schedule": "branches", "regularizer": "divergence", "fusion": {"name": "tte", "window": 2}}
CASES: dict[str, dict[str, Any]] = {
    "joint": {"tasks": FOUR, "schedule": "joint", "iterations": 8},
    "tte": {"tasks": FOUR, **TTE, "iterations": 8},
    "msvl": {"tasks": FOUR, "sharing": "lasso", "schedule": "round_robin", "iterations": 8},
    "puzzles": {"tasks": [task(name) for name in ("jigsaw_plus", "rwc", "rotation")], "schedule": "joint"},
    "by gradient": {"tasks": LABELLED, **SHARED, "balancing": "mgda"},
    "by a look ahead": {"tasks": LABELLED, **SHARED, "balancing": "auto_lambda", "regularizer": "sam"},
    "adam": {"optimizer": {"kind": "adam", "learning_rate": 0.001}},
    "maps": {
        "tasks": [{"name": "semantic_segmentation"}, {"name": "depth"}, {"name": "normals"}],
        **SHARED,
        "encoder": {"name": "segnet", "width": "quarter"},
        "sharing": "mtan",
    },
}


class KilledError(Exception):
    pass


@contextmanager
def noted(tell: Callable[[str, object], None]) -> Iterator[None]:
    """Passes on what PyTorch says of operations that may not repeat: whether they do is for the bytes to say."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    said = {str(one.message).split(".")[0] for one in caught if "determin" in str(one.message)}
    tell("said not to repeat", sorted(said))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_two_trainings_and_one_that_was_killed_end_with_the_same_bytes(
    case: str, precision: str, device: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    asked, data, compute = source(**CASES[case]), dataset(device), Compute(device, precision)
    made = prepared(asked, data)

    class Mortal(Checkpoint):
        def save(self, state: Mapping[str, Any], reached: str = "") -> None:
            super().save(state, reached)
            raise KilledError

    with noted(record_property):
        one, other = (pretrain(asked, data, made, compute, 0, None) for _ in range(2))
        with monkeypatch.context() as patch:
            patch.setattr(pretraining, "Checkpoint", Mortal)
            with pytest.raises(KilledError):
                pretrain(asked, data, made, compute, 0, tmp_path)
        resumed = pretrain(asked, data, made, compute, 0, tmp_path)
    for part in ("encoder", "heads", "sharing"):
        state = getattr(one, part).state_dict()
        assert same_bytes(state, getattr(other, part).state_dict()) == [], f"{part} of two trainings"
        assert same_bytes(state, getattr(resumed, part).state_dict()) == [], f"{part} of one that was killed"
