"""How fast a step of a pretraining is, in how many ways it could be run, and which share of the peak that is.

What is trained is the project's own `Learner`, by the turns of its schedules; only the batches are of noise, whose
speed is that of photographs.
"""

import gc
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.machine import seconds_of, synchronize
from benchmarks.gpu.options import ROOT, Case, Kit, Size
from tessera import registry
from tessera.data.store import Dataset, Split
from tessera.multitask.feeds import Feeds
from tessera.multitask.learner import Learner
from tessera.multitask.records import Record
from tessera.multitask.schedule.base import Turn
from tessera.multitask.source import Source
from tessera.multitask.step import METRICS_EVERY
from tessera.tasks.base import TaskBatch
from tessera.training.compute import Compute, repeat_exactly
from tessera.training.optimizer import make_optimizer
from tessera.training.randomness import generator_of

TASKS = ("jigsaw", "colorization", "segmentation", "reconstruction")
METHODS: dict[str, dict[str, Any]] = {
    "joint": {"schedule": "joint"},
    "TTE": {"schedule": "branches", "fusion": "tte", "regularizer": "divergence"},
}
RATE_S = 5.0  # for how long processes are timed that share a device

Found = dict[str, Any]


def random_dataset(size: int, number: int, device: torch.device) -> Dataset:
    """Noise."""
    images = torch.randint(256, (number, 3, size, size), dtype=torch.uint8, device=device)
    split = Split(images, torch.zeros(number, dtype=torch.int64, device=device))
    return Dataset(("any",), size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), {"train": split, "test": split})


class Training:
    """A pretraining whose turns can be run in several ways.

    Args:
        steps: Of each task in an epoch.
    """

    def __init__(self, case: Case, method: str, compute: Compute, steps: int) -> None:
        self.compute = compute
        dataset = random_dataset(case.px, 4 * case.batch, compute.device)
        self.source = Source.model_validate(
            {
                "dataset": {"name": "image_folder", "path": "none", "image_size": case.px},
                "encoder": case.encoder,
                "tasks": list(TASKS),
                "batch_size": case.batch,
                "epochs": 2,
                "iterations": steps * len(TASKS),
                **METHODS[method],
            }
        )
        prepared = {
            part.name: registry.load("task", part.name).prepare(
                part.at(case.px), case.px, dataset, generator_of(0, part.name)
            )
            for part in self.source.tasks
        }
        self.learner = Learner(self.source, dataset, prepared, compute, 0)
        self.learner.regularizer.begin_epoch(self.learner.encoder, 1)  # not the first, in which some do nothing yet
        schedule = registry.load("schedule", self.source.schedule.name)(self.source.schedule)
        self.turns: list[Turn] = schedule.turns(self.learner.names, self.source.iterations, generator_of(0, "order"))
        self.images = case.batch * sum(turn.batches for turn in self.turns)
        some = dataset.train.subset(torch.arange(case.batch))
        self.batches: dict[str, TaskBatch] = {
            name: task.make_batch(some.images[:], task.labels_of(some), generator_of(0, "batch", name))
            for name, task in self.learner.tasks.items()
        }
        self.optimizers = {
            turn.tasks: make_optimizer(self.source.optimizer, *self.learner.groups(turn.tasks)) for turn in self.turns
        }

    def ready(self) -> Feeds:
        """The same batch of each task again and again: the step without making batches."""
        return Feeds(lambda *_: {name: repeat(batch) for name, batch in self.batches.items()})

    def epoch(self, feeds: Callable[[], Feeds] | None = None, turns: list[Turn] | None = None) -> None:
        """The turns of one epoch as a pretraining takes them, with new batches or with those of `feeds`."""
        turns = self.turns if turns is None else turns
        given = self.learner.feeds(0, turns) if feeds is None else feeds()
        records: dict[str, list[Record]] = {name: [] for name in self.learner.names}
        for turn in turns:
            self.learner.take(turn, 0, given, records, self.optimizers[turn.tasks])

    def operations(self) -> int:
        """Floating-point operations of an epoch's convolutions and matrix products, forward and backward."""
        one = [replace(turn, steps=turn.steps[:1]) for turn in self.turns]
        with FlopCounterMode(display=False) as counter:
            self.epoch(self.ready, one)
        counted: int = counter.get_total_flops()
        return counted * len(self.turns[0].steps)

    def compile(self, backend: str) -> None:
        """Encoder and heads by `torch.compile`, each by itself, in place: names and weights stay what they are."""
        for module in (self.learner.encoder, *self.learner.heads.values()):
            module.compile(backend=backend)

    def captured(self) -> Callable[[], None]:
        """The epoch from CUDA graphs, one for each kind of step, at a fixed learning rate, of the same batches.

        Raises:
            RuntimeError: If something in a step cannot be captured, such as a wait for the device.
        """
        feeds, graphs = self.ready(), list[tuple[torch.cuda.CUDAGraph, int]]()
        for turn in self.turns:
            tasks, optimizer = turn.steps[0], self.optimizers[turn.tasks]
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            for module in self.learner.modules(self.learner.names):
                module.train()
            # Records that are no multiple of METRICS_EVERY: metrics are no part of most steps.
            blank: Record = {"loss": torch.zeros((), device=self.compute.device)}
            records = {name: [blank] * (METRICS_EVERY + 1) for name in self.learner.names}

            def step(
                turn: Turn = turn, tasks: tuple[str, ...] = tasks, optimizer: Any = optimizer,
                parameters: list[Tensor] = parameters, records: Mapping[str, list[Record]] = records,
            ) -> None:  # fmt: skip
                self.learner.leave_gradients(self.learner.step(turn, tasks, records, feeds), optimizer)
                nn.utils.clip_grad_norm_(parameters, self.source.optimizer.clip_norm or float("inf"))
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

            # Beside the default stream, as a capture asks: momentum and cuDNN's workspaces are there before it.
            side = torch.cuda.Stream(self.compute.device)  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream(self.compute.device))
            with torch.cuda.stream(side):
                for _ in range(3):
                    step()
            torch.cuda.current_stream(self.compute.device).wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()
            graphs.append((graph, len(turn.steps)))

        def replay() -> None:
            for graph, number in graphs:
                for _ in range(number):
                    graph.replay()

        return replay


def measure_steps(kit: Kit, case: Case, compiled: bool, keep: Callable[[Found], None]) -> Found:
    """The steps `steps <case>` and `compiled steps <case>`: joint and TTE, each in its ways.

    Args:
        compiled: Compiled ones beside eager ones, and nothing else.
        keep: Told what was found after each way.
    """
    torch.set_num_threads(1)
    compute = Compute(torch.device(kit.device))
    repeat_exactly(compute.device)  # as jobs do
    found: Found = {"precision": str(compute.dtype).removeprefix("torch."), "methods": {}}
    for method in METHODS:
        training = Training(case, method, compute, kit.size.steps)
        of: Found = {"images": training.images, "operations": training.operations(), "ways": {}}
        found["methods"][method] = of
        for way, took in (_compiled_ways if compiled else _ways)(kit.size, training, of):
            of["ways"][way] = took
            keep(found)
        del training
        torch.compiler.reset()
        gc.collect()
        if compute.device.type == "cuda":
            torch.cuda.empty_cache()
    return found


def _ways(size: Size, training: Training, of: Found) -> Iterator[tuple[str, Found]]:
    """Each way and what it took; the memory of an eager step goes into `of`."""
    device, ready = training.compute.device, partial(training.epoch, training.ready)
    yield "eager, with making batches", _timed(training, lambda: training.epoch, size.rounds)
    yield "eager", _timed(training, lambda: ready, size.rounds)
    if device.type != "cuda":
        yield "CUDA graph", {"skipped": "needs a GPU"}
        return
    torch.cuda.reset_peak_memory_stats(device)
    ready()
    synchronize(device)
    of["memory_mb"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
    with _kernels_by_trial():
        yield "eager, kernels by trial, not to be repeated exactly", _timed(training, lambda: ready, size.rounds)
    yield "CUDA graph", _timed(training, training.captured, size.rounds)


def _compiled_ways(size: Size, training: Training, of: Found) -> Iterator[tuple[str, Found]]:
    ready = partial(training.epoch, training.ready)

    def compiled() -> Callable[[], None]:
        training.compile(size.compiler)
        return ready

    yield "eager", _timed(training, lambda: ready, size.rounds)
    yield f"torch.compile ({size.compiler})", _timed(training, compiled, size.rounds)


def _timed(training: Training, make: Callable[[], Callable[[], None]], rounds: int) -> Found:
    """Seconds of an epoch in one way, and what it took to get there; or why it cannot be gone.

    Raises:
        RuntimeError: If the device answers no more after that, so that no other way can be tried in this process.
    """
    device, start = training.compute.device, time.perf_counter()
    try:
        epoch = make()
        epoch()
        synchronize(device)
        first = time.perf_counter() - start
        return {"seconds": seconds_of(epoch, device, rounds, warm_up=0), "first_s": first}
    except Exception as error:
        synchronize(device)  # raises where a kernel's fault has ended all CUDA of this process
        return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:600]}"}


@contextmanager
def _kernels_by_trial() -> Iterator[None]:
    """Kernels as fast as there are, whether or not they give the same bytes again."""
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)


def measure_stacked(kit: Kit) -> Found:
    """The step `stacked trials`: the encoder's pass there and back for several trials in one call, by `torch.func`.

    Each of the trials has weights and statistics of its own, and sees the same batch. The floor is one after the other.
    """
    torch.set_num_threads(1)
    case, device, number = kit.size.cases[0], torch.device(kit.device), kit.size.stacked
    dtype = Compute(
        device
    ).dtype  # of weights as well: autocast does not go with `vmap`, and speed is all that is asked
    part = registry.find("encoder", case.encoder).options(name=case.encoder)
    encoders = [registry.load("encoder", case.encoder)(part).to(device, dtype).train() for _ in range(number)]
    views = torch.randn(case.batch, 3, case.px, case.px, device=device).to(dtype)

    def apart() -> None:
        for encoder in encoders:
            encoder(views).float().square().mean().backward()
            encoder.zero_grad(set_to_none=True)

    def stacked() -> Callable[[], Any]:
        weights, buffers = stack_module_state(encoders)

        def loss(weights: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
            z: Tensor = functional_call(encoders[0], (weights, buffers), (views,))
            return z.float().square().mean()

        return partial(vmap(grad(loss)), weights, buffers)

    found: Found = {"case": case.name, "trials": number}
    found["one after the other"] = {"seconds": seconds_of(apart, device, kit.size.rounds)}
    try:
        found["together"] = {"seconds": seconds_of(stacked(), device, kit.size.rounds)}
    except Exception as error:
        found["together"] = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:600]}"}
    return found


def measure_processes(kit: Kit) -> Found:
    """The step `processes on one device`: trainings at once, images/s of all together."""
    found: Found = {"case": kit.size.cases[0].name, "images_per_s": {}}
    words = [sys.executable, "-m", "benchmarks.gpu", "--step", "one process", "--kit", kit.words()]
    for number in kit.size.processes:
        children = [
            subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(number)
        ]
        try:
            rates = list(_rates(children))
        finally:
            for child in children:
                child.kill()
                child.wait()
        found["images_per_s"][str(number)] = rates
    return found


def _rates(children: list["subprocess.Popen[str]"]) -> Iterator[float]:
    """Has all of them begin at once, when each is warm."""
    pipes = [(child.stdin, child.stdout) for child in children]
    for _, out in pipes:
        assert out is not None
        if out.readline().strip() != "ready":
            raise RuntimeError("a process did not get ready: the log says why")
    for into, _ in pipes:
        assert into is not None
        into.write("go\n")
        into.flush()
    for _, out in pipes:
        assert out is not None
        yield float(out.readline())


def one_process(kit: Kit) -> None:
    """One of the trainings of `measure_processes`: says `ready`, waits for a line, and tells images/s."""
    torch.set_num_threads(1)
    device = torch.device(kit.device)
    repeat_exactly(device)
    training = Training(kit.size.cases[0], "joint", Compute(device), kit.size.steps)
    training.epoch()
    synchronize(device)
    print("ready", flush=True)
    sys.stdin.readline()
    start, images = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < (RATE_S if kit.scale == "full" else 0.5):
        training.epoch()
        synchronize(device)
        images += training.images
    print(images / elapsed if elapsed else 0.0, flush=True)
