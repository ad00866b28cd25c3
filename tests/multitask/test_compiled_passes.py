"""A pretraining with compiled passes: which passes they are, and that it keeps to them."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from multitask_stand_ins import LABELLED, SHARED, UNITS, tiny_dataset, tiny_source, two_labels
from torch import Tensor

from misfits import interrupted
from tessera.multitask.epochs import Pretrained
from tessera.multitask.pretrain import pretrain
from tessera.training import compiled
from tessera.training.compute import Compute

OMEGA = {"schedule": "branches", "fusion": "tte", "regularizer": "divergence"}


def train(wanted: Any, resume: Path | None = None, **settings: Any) -> Pretrained:
    compute = Compute(torch.device("cpu"), "float32", compile=wanted)
    dataset = two_labels() if "tasks" in settings else tiny_dataset()
    return pretrain(tiny_source(**{"epochs": 2, **settings}), dataset, {}, compute, 0, resume)


def bytes_of(trained: Pretrained) -> bytes:
    return b"".join(value.numpy().tobytes() for value in trained.encoder.state_dict().values())


class Backend:
    """Stands in for PyTorch's compiler: the same kernels, their results `factor` times as large."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.factor = 1.0
        self.graphs: list[bool] = []  # whether gradients are asked for
        self.calls = 0
        patch.setattr(compiled, "_backend", self.compile)

    def compile(self, graph: Any, inputs: Any) -> Callable[..., Any]:
        self.graphs.append(torch.is_grad_enabled())

        def run(*given: Tensor) -> Any:
            self.calls += 1
            found = graph(*given)
            return found if self.factor == 1.0 else tuple(value * self.factor for value in found)

        return run


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    import torch._dynamo

    torch._dynamo.reset()
    yield Backend(monkeypatch)
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        ({}, 2 * 6),
        (OMEGA, 2 * 6 + 6),  # the anchor's, in the second epoch
        ({"tasks": LABELLED, "schedule": SHARED, "balancing": "pcgrad"}, 2 * 6),  # both go back through one pass
    ],
    ids=["joint", "omega", "shared input"],
)
def test_the_steps_passes_are_compiled_and_no_others(backend: Backend, settings: dict[str, Any], passes: int) -> None:
    expected = train(False, **settings)
    assert not expected.compiled
    assert not backend.calls
    found = train(True, **settings)
    assert found.compiled
    tried = 1  # before the first step
    assert backend.calls == passes + tried
    assert backend.graphs.count(False) == ("regularizer" in settings)
    assert bytes_of(found) == bytes_of(expected)
    assert [row["turn.loss"] for row in found.history if "turn.loss" in row] == [
        row["turn.loss"] for row in expected.history if "turn.loss" in row
    ]


def test_a_resumed_training_keeps_to_what_it_began_with(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backend.factor = 1.01
    plain, whole = train(False), train(True)
    assert bytes_of(plain) != bytes_of(whole)
    for begun, wanted, expected in ((True, False, whole), (True, "auto", whole), (False, True, plain)):
        folder = tmp_path / f"{begun}-{wanted}" / "state"
        with interrupted(monkeypatch):
            train(begun, folder)
        resumed = train(wanted, folder)
        assert bytes_of(resumed) == bytes_of(expected)
        assert resumed.compiled is begun


def test_what_began_compiled_goes_on_where_nothing_can_be_compiled(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "job" / "state"
    with interrupted(monkeypatch):
        train(True, folder)
    monkeypatch.setattr(compiled, "_seconds", lambda *about: 1 / 0)
    resumed = train("auto", folder)
    assert not resumed.compiled
    assert len(resumed.history) == 2
    assert "it began compiled" in caplog.text


def test_an_encoder_that_is_taken_apart_is_not_compiled(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "tessera"):
        trained = train(True, sharing="lasso", encoder=UNITS)
    assert not trained.compiled
    assert "sharing `lasso` takes the encoder apart" in caplog.text
    assert not backend.graphs


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
import torch
torch.set_num_threads(1)
from hashlib import sha256
from multitask_stand_ins import tiny_source, two_labels
from tessera.multitask.pretrain import pretrain
from tessera.training.checkpoint import Checkpoint
from tessera.training.compute import Compute
precision, kept, state, stops = sys.argv[1:]
compute = Compute(torch.device("cpu"), precision, compile=True, kept=Path(kept))
if stops == "stops":  # killed after its first epoch
    save = Checkpoint.save
    Checkpoint.save = lambda self, *about: (save(self, *about), sys.exit(0))
trained = pretrain(tiny_source(**{settings!r}), two_labels(), {{}}, compute, 0, Path(state))
assert trained.compiled
weights = b"".join(value.numpy().tobytes() for value in trained.encoder.state_dict().values())
print(sha256(weights).hexdigest(), *(row[{figure!r}] for row in trained.history))
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("precision", "parts", "figure"),
    [
        ("float32", OMEGA, "turn.loss"),
        ("bfloat16", {}, "turn.loss"),
        ("float32", {"tasks": LABELLED, "schedule": SHARED, "balancing": "pcgrad"}, "classification.loss"),
    ],
    ids=["omega", "bfloat16", "shared input"],
)
def test_kernels_give_the_same_bytes_in_every_process(
    precision: str, parts: dict[str, Any], figure: str, tmp_path: Path
) -> None:
    tests = Path(__file__).parents[1]
    paths = [str(tests / "multitask"), str(tests), str(tests.parent / "workflow")]
    settings = {"encoder": "resnet8", "epochs": 2, "iterations": 4, **parts}

    def run(kept: str, state: str, stops: str = "") -> list[str]:
        script = SCRIPT.format(paths=paths, settings=settings, figure=figure)
        words = [precision, str(tmp_path / kept), str(tmp_path / state / "state"), stops]
        done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    digest, *losses = run("one", "whole")
    assert run("one", "resumed", "stops") == []
    assert run("another", "resumed")[0] == digest  # its kernels are made anew
    plain = pretrain(tiny_source(**settings), two_labels(), {}, Compute(torch.device("cpu"), precision), 0, None)
    # Of the first epoch: later ones have what rounding made of it.
    assert float(losses[0]) == pytest.approx(plain.history[0][figure], rel=0.05)
