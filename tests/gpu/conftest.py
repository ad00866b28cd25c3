"""What is tested on a GPU: the device, how precisely to compute on it, and that nothing waits for it."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import torch

import pretended_cuda
from tessera.training.compute import Compute, repeat_exactly

os.environ.setdefault(
    "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
)  # asked for by products that repeat exactly, before CUDA begins
sys.path.insert(0, str(Path(__file__).parent))  # lets tests import `gpu_cases`

Unread = Callable[[], AbstractContextManager[None]]


@pytest.hookimpl(tryfirst=True)  # before what leaves marked tests out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and item.path.stem != "test_pretended":
            item.add_marker(pytest.mark.gpu)
            # Whether an operation repeats is for the bytes to say, in test_repeats.
            item.add_marker(pytest.mark.filterwarnings("ignore:.*determin:UserWarning"))


@pytest.fixture
def pretended(request: pytest.FixtureRequest) -> bool:
    """Whether the GPU is made up (tests/pretended_cuda.py)."""
    return bool(request.config.getoption("--device") == "pretended")


@pytest.fixture
def device(request: pytest.FixtureRequest, pretended: bool) -> Iterator[torch.device]:
    if not pretended:
        yield torch.device(request.config.getoption("--device") or "cuda")
        return
    if "bfloat16" in request.node.name:
        pytest.skip("autocast needs a GPU that is there")
    with pretended_cuda.pretended_cuda():
        yield torch.device("cuda")


@pytest.fixture
def compute(device: torch.device) -> Compute:
    """The device, without autocast."""
    return Compute(device, "float32")


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """Products and convolutions of float32 as they are, not rounded to TF32, so that they are near a processor's."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def unread(device: torch.device, pretended: bool) -> Unread:
    """A context in which whatever waits for a GPU is an error: reading a value, or a copy that is waited for."""
    if pretended:
        return pretended_cuda.unread
    if device.type != "cuda":
        return nullcontext
    import gpu_cases

    return gpu_cases.waiting_refused


@pytest.fixture
def repeatable(device: torch.device) -> Iterator[None]:
    """As a job computes; afterwards as before."""
    repeat_exactly(device)
    yield
    torch.use_deterministic_algorithms(False)
