"""What does a step cost under each way of sharing, beside hard sharing?

    PYTHONPATH=workflow python benchmarks/sharing.py --encoder segnet --width quarter

Two tasks of labels, of own inputs and of a shared one. All take turns in one run and are measured by processor time on
a CPU, since only ratios of one run count.
"""

import argparse
import random
from statistics import median
from typing import Any

import torch
from balancing import OWN, SHARED, Row
from steps import COLUMNS

TASKS = [{"name": "classification", "labels": name} for name in list(COLUMNS)[:2]]
WAYS: dict[str, Any] = {
    "hard": "hard",
    "mtan": "mtan",
    "cross_stitch": "cross_stitch",
    "model_patch": "model_patch",
    "depthwise": {"name": "model_patch", "kind": "depthwise"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--encoder", default="segnet")
    parser.add_argument("--width", help="of an encoder that has one")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=WAYS, help="beside `hard`")
    options = parser.parse_args()
    if options.width is not None:
        options.encoder = {"name": options.encoder, "width": options.width}
    torch.set_num_threads(1)
    for kind, schedule in (("own", OWN), ("shared", SHARED)):
        rows = {
            name: Row({"sharing": WAYS[name], "schedule": schedule, "tasks": TASKS}, options)
            for name in dict.fromkeys(["hard", *options.ways])
        }
        seconds: dict[str, list[float]] = {name: [] for name in rows}
        for row in rows.values():
            row.timed(row.step, 1)
        order = list(rows.items())
        for turn in range(options.rounds):
            random.Random(turn).shuffle(order)
            for name, row in order:
                seconds[name].append(row.timed(row.step, options.steps))
        print(f"{kind} inputs, times `hard`:")
        for name, found in seconds.items():
            ratio = median(mine / theirs for mine, theirs in zip(found, seconds["hard"], strict=True))
            print(f"  {name:14s} {ratio:6.3f}   {1000 * median(found) / options.steps:8.1f} ms a step")


if __name__ == "__main__":
    main()
