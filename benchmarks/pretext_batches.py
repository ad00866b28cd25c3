"""How long does making a pretext batch take, against the training step that consumes it?

    PYTHONPATH=workflow python benchmarks/pretext_batches.py --device cpu --rounds 10

Both are measured in turns in one run, since a busy neighbour changes either by more than they differ; the table shows
medians. A step is forward, loss, backward and SGD of the encoder and the task's head.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

from tessera import registry
from tessera.data.store import Dataset, Split
from tessera.models.encoders.base import Encoder
from tessera.tasks.base import ImageStatistics, Task, TaskBatch
from tessera.training.compute import Compute

NUM_CLASSES = 10
WANTED_RATIO = 5.0  # making a batch may take a fifth of the step that consumes it


def random_dataset(number: int, size: int, device: torch.device) -> Dataset:
    """Smooth random images: what they show does not change the time."""
    coarse = torch.rand(number, 3, 8, 8)
    images = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear") * 255
    split = Split(images.to(torch.uint8).to(device), (torch.arange(number) % NUM_CLASSES).to(device))
    classes = tuple(str(label) for label in range(NUM_CLASSES))
    return Dataset(classes, size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), {"train": split, "test": split})


def make_task(name: str, dataset: Dataset, device: torch.device) -> Task:
    """A task with its default options."""
    options = registry.find("task", name).options(name=name).at(dataset.image_size)  # type: ignore[attr-defined]
    cls = registry.load("task", name)
    prepared = cls.prepare(options, dataset.image_size, dataset, torch.Generator())
    task: Task = cls(options, ImageStatistics.of(dataset), prepared, device)
    return task


class Course:
    """One task's batches and steps."""

    def __init__(self, name: str, encoder: str, dataset: Dataset, compute: Compute, batch_size: int) -> None:
        self.task, self.compute = make_task(name, dataset, compute.device), compute
        options = registry.find("encoder", encoder).options(name=encoder)
        network: Encoder = registry.load("encoder", encoder)(options)
        self.encoder = compute.place(network)
        self.head = compute.place(self.task.build_head(network.num_features))
        parameters = [*self.encoder.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
        self.split, self.batch_size = dataset.train, batch_size
        self.generator = torch.Generator().manual_seed(0)

    def make_batch(self) -> TaskBatch:
        index = torch.randint(len(self.split), (self.batch_size,), generator=self.generator)
        part = self.split.subset(index)
        return self.task.make_batch(part.images[:], self.task.labels_of(part), self.generator)

    def step(self, batch: TaskBatch) -> None:
        inputs = batch.inputs.contiguous(memory_format=torch.channels_last)
        with self.compute.autocast():
            prediction = self.head(self.encoder(inputs))
        self.task.loss(prediction, batch.labels).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def timed(action: Callable[[], object], device: torch.device) -> float:
    """Seconds of the action, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--encoder", default="resnet26")
    parser.add_argument("--image-size", type=int, default=32, choices=[32, 64, 96, 224, 256])
    parser.add_argument("--tasks", nargs="+", default=[], choices=sorted(registry.parts("task")), help="all by default")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    compute = Compute(torch.device(arguments.device), arguments.precision)
    # As many pixels at every size: enough for batches to differ.
    number = max(2 * arguments.batch_size, 1024 * 32**2 // arguments.image_size**2)
    dataset = random_dataset(number, arguments.image_size, compute.device)
    courses = {
        name: Course(name, arguments.encoder, dataset, compute, arguments.batch_size)
        for name in arguments.tasks or registry.parts("task")
    }
    making: dict[str, list[float]] = {name: [] for name in courses}
    steps: dict[str, list[float]] = {name: [] for name in courses}
    for turn in range(arguments.rounds + 2):
        for name, course in courses.items():
            batch = course.make_batch()
            seconds = timed(course.make_batch, compute.device), timed(partial(course.step, batch), compute.device)
            if turn >= 2:  # the first ones warm up
                making[name].append(seconds[0])
                steps[name].append(seconds[1])

    print(f"{arguments.encoder}, {arguments.image_size} px, batch {arguments.batch_size}, {compute.device}, "
          f"{compute.dtype}, {arguments.threads} thread(s), medians of {arguments.rounds}")  # fmt: skip
    print("| task | batch, ms | step, ms | batches, images/s | steps, images/s | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    ratios = {}
    for name in courses:
        made, stepped = statistics.median(making[name]), statistics.median(steps[name])
        rates = [arguments.batch_size / seconds for seconds in (made, stepped)]
        ratios[name] = stepped / made
        print(f"| {name} | {1e3 * made:.2f} | {1e3 * stepped:.1f} | {rates[0]:,.0f} | {rates[1]:,.0f} | "
              f"{ratios[name]:.1f} |")  # fmt: skip
    slowest = min(ratios, key=lambda name: ratios[name])
    print(f"least ratio: {ratios[slowest]:.1f}, {slowest}; wanted: at least {WANTED_RATIO:g}")


if __name__ == "__main__":
    main()
