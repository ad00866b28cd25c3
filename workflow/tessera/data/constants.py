"""Numbers of a formula, on the device that computes with them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def constant(values: Sequence[Any], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of these numbers on the device.

    `torch.tensor(…, device=…)` waits until a GPU has done all that it was given, which in a step is the step before. A
    copy that is not waited for takes its numbers from memory at once, so that they may be thrown away.
    """
    return torch.tensor(values, dtype=dtype).to(device, non_blocking=True)
