"""Compares a loss, and its gradient, with one that loops over plain numbers."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.testing import assert_close

Numbers = NDArray[np.float64]
STEP = 1e-5


def check(loss: Callable[[Tensor], Tensor], slow: Callable[[Numbers], float], student: Tensor) -> None:
    """The value to 1e-9, and the gradient against central differences of the slow loss to 1e-6.

    Args:
        student: What is differentiated, float64.
    """
    student = student.detach().clone().requires_grad_()
    found = loss(student)
    numbers = student.detach().numpy().copy()
    assert_close(found.item(), slow(numbers), rtol=1e-9, atol=1e-12)
    (gradient,) = torch.autograd.grad(found, student)
    expected = np.empty_like(numbers)
    for index in np.ndindex(*numbers.shape):
        kept = numbers[index]
        sides = []
        for side in (STEP, -STEP):
            numbers[index] = kept + side
            sides.append(slow(numbers))
        numbers[index] = kept
        expected[index] = (sides[0] - sides[1]) / (2 * STEP)
    assert_close(gradient.numpy(), expected, rtol=1e-6, atol=1e-8)
