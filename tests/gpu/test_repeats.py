"""A seed gives the same bytes again, and a training that was interrupted ends with the bytes of one that was not."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from gpu_cases import LABELLED, SHARED, dataset, prepared, same_bytes, source, task

from tessera.multitask import pretrain as pretraining
from tessera.multitask.epochs import Pretrained
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


class Mortal(Checkpoint):
    def save(self, state: Mapping[str, Any], reached: str = "") -> None:
        super().save(state, reached)
        raise KilledError


def killed_and_resumed(case: str, compute: Compute, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Pretrained:
    """A training that was killed after its first epoch."""
    asked, data = source(**CASES[case]), dataset(compute.device)
    made = prepared(asked, data)
    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "Checkpoint", Mortal)
        with pytest.raises(KilledError):
            pretrain(asked, data, made, compute, 0, folder)
    return pretrain(asked, data, made, compute, 0, folder)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_two_trainings_and_one_that_was_killed_end_with_the_same_bytes(
    case: str, precision: str, device: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    asked, data, compute = source(**CASES[case]), dataset(device), Compute(device, precision)
    made = prepared(asked, data)

    with noted(record_property):
        one, other = (pretrain(asked, data, made, compute, 0, None) for _ in range(2))
        resumed = killed_and_resumed(case, compute, tmp_path, monkeypatch)
    for part in ("encoder", "heads", "sharing"):
        state = getattr(one, part).state_dict()
        assert same_bytes(state, getattr(other, part).state_dict()) == [], f"{part} of two trainings"
        assert same_bytes(state, getattr(resumed, part).state_dict()) == [], f"{part} of one that was killed"


@pytest.mark.filterwarnings("ignore::UserWarning")  # the compiler's advice, such as to round products to TF32
@pytest.mark.parametrize("case", ["joint", "tte"])
def test_compiled_passes_repeat_and_compute_nearly_what_others_do(
    case: str, device: Any, pretended: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Where `compile: auto` chooses them. Kernels are PyTorch's own."""
    if pretended:
        pytest.skip("kernels are made for a GPU that is there")
    asked, data = source(**CASES[case]), dataset(device)
    made = prepared(asked, data)
    compute = Compute(device, "float32", compile=True, kept=tmp_path / "kept")
    one = pretrain(asked, data, made, compute, 0, None)
    if not one.compiled:
        if device.type == "cuda" and which("cc"):
            pytest.fail(f"nothing was compiled: {caplog.text}")
        pytest.skip("nothing can be compiled here")
    resumed = killed_and_resumed(case, compute, tmp_path / "state", monkeypatch)
    assert resumed.compiled
    assert same_bytes(one.encoder.state_dict(), resumed.encoder.state_dict()) == []
    plain = pretrain(asked, data, made, Compute(device, "float32"), 0, None)
    losses = [name for name, value in plain.history[0].items() if name.endswith(".loss") and isinstance(value, float)]
    assert losses
    for name in losses:
        assert one.history[0][name] == pytest.approx(plain.history[0][name], rel=0.02), name
