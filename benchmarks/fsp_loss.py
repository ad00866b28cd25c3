"""Times the FSP loss, forward and backward: one batched matmul a pair against a broadcast product and mean.

`PYTHONPATH=workflow python benchmarks/fsp_loss.py`. Both are timed in turn, since only ratios of one run count.
"""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from tessera.transfer.fsp import fsp_loss

PAIRS = ((16, 16), (16, 32), (32, 64))  # common widths of ResNet-26 and the reduced AlexNet
BATCH, SIDE, ROUNDS = 64, 8, 15
Maps = list[tuple[Tensor, Tensor]]


def broadcast_loss(teacher: Maps, student: Maps) -> Tensor:
    """The same loss with (N, m, n, h w) products written out."""

    def gram(first: Tensor, second: Tensor) -> Tensor:
        return (first.flatten(2)[:, :, None] * second.flatten(2)[:, None]).mean(dim=3)

    losses = [(gram(*a) - gram(*b)).square().mean() for a, b in zip(teacher, student, strict=True)]
    return torch.stack(losses).sum()


def seconds(loss: Callable[[Maps, Maps], Tensor], teacher: Maps, student: Maps) -> float:
    """Time of one forward and backward pass."""
    start = time.perf_counter()
    loss(teacher, student).backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)

    def maps(gradient: bool) -> Maps:
        shapes = [tuple((BATCH, width, SIDE, SIDE) for width in pair) for pair in PAIRS]
        return [(torch.rand(a, requires_grad=gradient), torch.rand(b, requires_grad=gradient)) for a, b in shapes]

    teacher, student = maps(False), maps(True)
    torch.testing.assert_close(fsp_loss(teacher, student), broadcast_loss(teacher, student))
    times: dict[str, list[float]] = {"batched matmul": [], "broadcast": []}
    for _ in range(ROUNDS):
        times["batched matmul"].append(seconds(fsp_loss, teacher, student))
        times["broadcast"].append(seconds(broadcast_loss, teacher, student))
    for name, found in times.items():
        print(f"{name:15s} {1e3 * median(found):8.2f} ms")
    print(f"ratio           {median(times['broadcast']) / median(times['batched matmul']):8.1f}")


if __name__ == "__main__":
    main()
