"""How should a processor's cores be shared out: two jobs of one thread each, or one job of two threads?

    PYTHONPATH=workflow python benchmarks/threads.py

Each job is a process that pretrains an encoder; images/s of all of them together are compared, in alternating turns of
one run, since only ratios of one run count. Every process is started, has made its first steps, and waits for the
others before the clock runs. The cores must be free: a third process takes from both ways, and not alike.
"""

import argparse
import logging
import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from statistics import median
from typing import Any

import torch

from tessera.data.store import Dataset, Split
from tessera.multitask.epochs import Training
from tessera.multitask.source import Source
from tessera.training.compute import Compute


def random_dataset(size: int, number: int) -> Dataset:
    """Noise: its speed is that of photographs."""
    split = Split(
        torch.randint(256, (number, 3, size, size), dtype=torch.uint8), torch.zeros(number, dtype=torch.int64)
    )
    return Dataset(("any",), size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), {"train": split, "test": split})


def work(threads: int, options: argparse.Namespace, ready: Barrier, done: Barrier) -> None:
    """One job: an epoch for kernels to be chosen, then one while the clock runs."""
    torch.set_num_threads(threads)
    logging.disable()
    settings: dict[str, Any] = {
        "dataset": {"name": "image_folder", "path": "none", "image_size": options.image_size},
        "encoder": options.encoder,
        "tasks": ["rotation", "reconstruction"],
        "batch_size": options.batch,
        "epochs": 2,
    }
    dataset = random_dataset(options.image_size, 1024)
    compute = Compute(torch.device("cpu"), options.precision)
    for steps, measured in ((1, False), (options.steps, True)):
        source = Source.model_validate({**settings, "iterations": 2 * steps})
        training = Training(source, dataset, {}, compute, 0)
        if measured:
            ready.wait()
        training.epoch(1)
    done.wait()


def images_per_second(jobs: int, threads: int, options: argparse.Namespace) -> float:
    """Of so many jobs together."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(jobs + 1), context.Barrier(jobs + 1)
    processes = [context.Process(target=work, args=(threads, options, ready, done)) for _ in range(jobs)]
    for process in processes:
        process.start()
    ready.wait()
    start = time.perf_counter()
    done.wait()
    seconds = time.perf_counter() - start
    for process in processes:
        process.join()
    images: int = jobs * 2 * options.steps * options.batch
    return images / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--encoder", default="resnet26")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60, help="batches of each of two tasks")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ways = {
        f"{options.cores} jobs of 1 thread": (options.cores, 1),
        f"1 job of {options.cores} threads": (1, options.cores),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.rounds):
        for name, (jobs, threads) in list(ways.items())[:: 1 if turn % 2 == 0 else -1]:
            found[name].append(images_per_second(jobs, threads, options))
    many, one = found.values()
    for name, rates in found.items():
        print(f"{name:24s} {median(rates):8.0f} images/s in all")
    print(f"ratio {median(a / b for a, b in zip(many, one, strict=True)):.2f}")


if __name__ == "__main__":
    main()
