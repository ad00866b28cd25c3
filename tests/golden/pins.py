"""Numbers of a stage, compared with those that are pinned."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

# Of float64, over few steps. Without AVX (ATEN_CPU_CAPABILITY=default, ONEDNN_MAX_CPU_ISA=SSE41), and with two threads
# under MKL_CBWR=COMPATIBLE, these numbers change by less than 2e-12 of themselves (each test says by how much), so
# there is room for processors that were not tried; any change of what a stage computes is larger.
TOLERANCE = 1e-8
ZERO = 1e-12  # what is 0 but for rounding


def compare(found: Mapping[str, float], pinned: Mapping[str, float], stage: str, tolerance: float = TOLERANCE) -> None:
    """Fails where a number is not the pinned one, and then says all that were found, as they are pinned.

    Args:
        stage: Class of the stage's settings, whose `version` guards its cached artifacts.
        tolerance: Relative.
    """
    lines = "".join(f'        "{name}": {value:.10g},\n' for name, value in found.items())
    message = f"results changed: bump {stage}.version, then pin what was found:\n{lines}"
    assert dict(found) == pytest.approx(dict(pinned), rel=tolerance, abs=ZERO), message


def projections(values: Mapping[str, Any], depth: int = 1) -> dict[str, float]:
    """One number for all tensors whose names begin with the same words; it depends on each of their entries.

    A sum of positive terms, so that its rounding is that of the entries.

    Args:
        depth: How many words, which dots separate.

    Shape:
        values: of any shape, tensors or arrays.
    """
    draw, sums = np.random.default_rng(0), dict[str, float]()
    for name, value in values.items():
        group = ".".join(name.split(".")[:depth])
        entries = torch.as_tensor(value).detach().double().flatten().numpy()
        sums[group] = sums.get(group, 0.0) + float(draw.uniform(0.5, 1.5, len(entries)) @ (abs(entries) + entries / 2))
    return sums


def fill(model: nn.Module) -> nn.Module:
    """Weights that no version of torch draws."""
    draw = np.random.default_rng(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                values = draw.normal(0, np.sqrt(2 / weight[0].numel()), tuple(weight.shape))
                weight.copy_(torch.from_numpy(values))
    return model
