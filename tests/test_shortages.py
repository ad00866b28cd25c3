"""A full disk and memory that does not suffice are told in one line, in whichever words a library has for them."""

import errno
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from tessera import shortages
from tessera.jobs import Job
from tessera.shortages import describe

HUGE = 10**15  # more than a processor can address, however freely the system promises memory


@pytest.fixture
def job() -> Job:
    settings = {
        "transfer": {"name": "none"},
        "network": {"name": "reduced_alexnet", "hidden": 1_000_000_000},
        "batch_size": 64,
        "epochs": 10**8,
        "optimizer": {"learning_rate": 0.1},
    }
    return Job(
        stage="transfer_knowledge", words="x", version=1, trial=0, settings=settings, inputs={},
        run={"studies": ("tiny",)},
    )  # fmt: skip


def raised(action: Callable[[], object]) -> BaseException:
    try:
        action()
    except Exception as error:
        return error
    return pytest.fail("it worked")


MEMORY: dict[str, Callable[[], Any]] = {
    "torch": lambda: torch.empty(HUGE),
    "a layer": lambda: torch.nn.Linear(10**9, 10**9),
    "more than 64 bits count": lambda: torch.empty(2**62, 2**62),
    "more than 64 bits hold": lambda: torch.empty(10**30),
    "numpy": lambda: np.zeros(HUGE),
    "numpy, more than it counts": lambda: np.zeros(10**30),
    "python": lambda: bytearray(10**17),
    "python, more than it counts": lambda: bytearray(10**30),
}


@pytest.mark.parametrize("what", MEMORY)
def test_memory_is_told_with_the_settings_that_could_be_lower(what: str, job: Job) -> None:
    words = describe(raised(MEMORY[what]), job)
    assert words is not None
    assert words.startswith("the memory does not suffice")
    assert "target.batch_size (now 64) or target.network.hidden (now 1000000000) or the image size in study" in words
    assert "\n" not in words
    assert "epochs" not in words


def test_what_was_asked_for_is_told_in_gigabytes() -> None:
    assert "(500 GB were asked for)" in str(
        describe(RuntimeError("you tried to allocate 500000000000 bytes: bad_alloc"))
    )


@pytest.mark.parametrize("text", ["std::bad_alloc", "DefaultCPUAllocator: not enough memory: you tried"])
def test_other_words_for_memory(text: str) -> None:
    assert str(describe(RuntimeError(text))).startswith("the memory does not suffice")


@pytest.mark.parametrize("text", ["CUDA out of memory. Tried to allocate 2 GiB", "CUDA error: out of memory\nCompile"])
def test_a_gpus_memory_is_told_as_such(text: str, job: Job) -> None:
    words = describe(RuntimeError(text), job)
    assert words is not None
    assert words.startswith("the GPU's memory does not suffice (CUDA ")
    assert "target.batch_size (now 64)" in words
    assert "\n" not in words


NUMPY, TORCH = (
    "5520384 requested and 196480 written",
    "[enforce fail at inline_container.cc:671] . unexpected pos 1 vs 2",
)
FULL = {
    "python": OSError(errno.ENOSPC, "No space left on device", "resume/x"),
    "a quota": OSError(errno.EDQUOT, "Disk quota exceeded"),
    "safetensors": SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    "numpy": OSError(NUMPY),
    "torch": RuntimeError(TORCH),
    "torch, earlier": RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed"),
    "sqlite": RuntimeError("database or disk is full"),
}


@pytest.mark.parametrize("who", FULL)
def test_a_full_disk_is_told_as_one(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for free in (0, 10**12):
        monkeypatch.setattr(shortages.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        words = describe(FULL[who])
        assert words is not None
        assert words.startswith("the disk is full")
        assert "Make room" in words
        assert "\n" not in words
        assert ("quota" in words) == (who in ("numpy", "torch", "torch, earlier") and free > 0)


def test_an_error_while_tidying_up_after_it_hides_nothing() -> None:
    def save() -> None:
        try:
            raise FULL["numpy"]
        except OSError:
            raise ValueError("I/O operation on closed file") from None

    def close() -> None:
        try:
            raise FULL["python"]
        except OSError as error:
            raise ValueError("cannot close") from error

    assert describe(raised(save)) is None  # whoever says `from None` means it
    assert str(describe(raised(close))).startswith("the disk is full while writing resume/x")


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), OSError(errno.EIO, "I/O error"), OverflowError("math range error"), ValueError("written in part")],
)
def test_other_errors_keep_their_traceback(error: Exception) -> None:
    assert describe(error) is None
