"""When the passes of an encoder are compiled: what is measured, what is remembered, and what becomes of no compiler."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tessera.training import compiled
from tessera.training.compiled import Cost, Planned, chooses_compiled, pays, works, worth_a_look
from tessera.training.compute import Compute

CPU = torch.device("cpu")
INPUTS, TILES = torch.zeros(8, 3, 16, 16), torch.zeros(72, 3, 6, 6)


def encoder_of(channels: int = 4) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, channels, 3), nn.BatchNorm2d(channels), nn.ReLU())


class Clock:
    """Stands in for the clock: what passes of the encoder take, compiled or not, and the first compiled one."""

    def __init__(self, patch: pytest.MonkeyPatch, eager_s: float, compiled_s: float, compile_s: float) -> None:
        self.eager_s, self.compiled_s, self.compile_s = eager_s, compiled_s, compile_s
        self.made: list[Any] = []
        self.looks = 0
        patch.setattr(compiled, "_seconds", self.seconds)
        patch.setattr(compiled, "Compiled", lambda compute: self.compile)
        patch.setattr(compiled, "works", lambda *about: True)

    def compile(self, encoder: Any) -> Any:
        self.made.append(encoder)
        encoder.shapes = set()
        return encoder

    def seconds(self, encoder: Any, inputs: torch.Tensor, compute: Compute, passes: int = 1) -> float:
        self.looks += 1
        if not hasattr(encoder, "shapes"):
            return self.eager_s
        new = inputs.shape not in encoder.shapes
        encoder.shapes.add(inputs.shape)
        return self.compiled_s + self.compile_s * new


def choose(kept: Path | None, *numbers: int, wanted: Any = "auto") -> bool:
    planned = [Planned(inputs, number) for inputs, number in zip((INPUTS, TILES), numbers, strict=False)]
    return chooses_compiled(encoder_of(), planned, Compute(CPU, "float32", compile=wanted, kept=kept))


def test_compiling_pays_where_it_saves_twice_what_it_takes() -> None:
    planned = [Planned(INPUTS, 1_000), Planned(TILES, 500)]
    costs = [Cost(0.5, 0.4, 30.0), Cost(0.5, 0.5, 20.0)]  # saves 100 s, takes 50 s
    assert not pays(costs, planned)
    assert pays(costs, [Planned(INPUTS, 1_001), planned[1]])
    assert not pays([Cost(0.5, 0.4, 30.0), Cost(0.5, 0.51, 20.0)], [Planned(INPUTS, 1_001), planned[1]])
    assert not pays([Cost(0.5)], [Planned(INPUTS, 10**9)])


@pytest.mark.parametrize(
    ("wanted", "passes", "looked"),
    [(False, 10**6, False), (True, 1, True), ("auto", 999, False), ("auto", 1_000, True)],
)
def test_short_trainings_are_not_looked_at(wanted: Any, passes: int, looked: bool) -> None:
    assert worth_a_look(Compute(CPU, "float32", compile=wanted), passes) is looked


def test_what_was_measured_is_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = Clock(monkeypatch, eager_s=1.0, compiled_s=0.8, compile_s=100.0)
    assert not choose(tmp_path, 800)  # less than a quarter of an hour: nothing is compiled
    assert not clock.made
    assert choose(tmp_path, 4_000)
    assert len(clock.made) == 1
    (place,) = tmp_path.glob("*.json")
    assert json.loads(place.read_text())["cost"] == {"eager_s": 1.0, "compiled_s": 0.8, "compile_s": 100.0}
    looks = clock.looks
    # Long enough, and what is saved is by the figures that are known, not by those of a busy moment.
    clock.compiled_s = 2.0
    assert choose(tmp_path, 4_000)
    assert not choose(tmp_path, 900)
    assert clock.looks == looks
    place.write_text("{")  # whatever a full disk leaves
    assert not choose(tmp_path, 4_000)
    assert clock.looks > looks


@pytest.mark.parametrize(("compiled_s", "passes", "chosen"), [(0.9, 4_000, True), (0.96, 4_000, False)])
def test_several_shapes_are_one_decision(
    compiled_s: float, passes: int, chosen: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = Clock(monkeypatch, eager_s=1.0, compiled_s=compiled_s, compile_s=100.0)
    assert choose(tmp_path, passes, passes) is chosen
    assert len(clock.made) == 2
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_other_precision_encoder_or_threads_are_measured_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Clock(monkeypatch, eager_s=1.0, compiled_s=0.8, compile_s=100.0)
    planned = [Planned(INPUTS, 4_000)]
    kinds = [(4, "float32", 1), (4, "bfloat16", 1), (5, "float32", 1), (4, "float32", 2)]
    for number, (channels, precision, threads) in enumerate(kinds, start=1):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert chooses_compiled(encoder_of(channels), planned, Compute(CPU, precision, compile="auto", kept=tmp_path))
        assert len(list(tmp_path.glob("*.json"))) == number


@pytest.mark.parametrize(("wanted", "level"), [("auto", logging.INFO), (True, logging.WARNING)])
def test_without_a_compiler_nothing_is_compiled(
    wanted: Any, level: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(monkeypatch, eager_s=1.0, compiled_s=0.1, compile_s=1.0)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with caplog.at_level(logging.INFO, "tessera"):
        assert not choose(tmp_path, 10**6, wanted=wanted)
    assert not clock.looks
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (level, "compile: there is no C++ compiler here, so nothing is compiled")
    ]


def test_what_cannot_be_compiled_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise OSError("no space for kernels\nand much more")

    monkeypatch.setattr(compiled, "_backend", broken)
    encoder = encoder_of()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    assert not works(encoder, [Planned(INPUTS, 1)], Compute(CPU, "float32", compile=True))
    (line,) = [record.getMessage() for record in caplog.records if record.name == "tessera"]
    assert "no space for kernels" in line
    assert "\n" not in line
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
