"""Golden tests compute in float64, so that the numbers they pin are those of every processor.

A processor's instruction set, its libraries and the number of threads decide in which order sums are taken. In float32
that is an error of 1e-7, which a training multiplies at every step; in float64 it is 1e-16.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tessera.tasks.color import color_table
from tessera.training.compute import Compute

sys.path.insert(0, str(Path(__file__).parent))  # lets tests import `pins`


@pytest.fixture(autouse=True, scope="module")
def float64() -> Iterator[None]:
    """Whatever would be float32 is float64, in Tessera and in torchvision: by default, by `.float()`, and by name.

    For tests alone: float64 is none of the precisions that a study may ask for, since no training gains by it.
    """
    color_table.cache_clear()  # a table that another test left is float32
    torch.set_default_dtype(torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "float32", torch.float64)
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        # Where there is AVX2, torchvision resizes bytes by other arithmetic, up to a level apart.
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
        yield
    torch.set_default_dtype(torch.float32)
    color_table.cache_clear()


@pytest.fixture
def cpu() -> Compute:
    """The processor, without autocast."""
    return Compute(torch.device("cpu"), "float32")
