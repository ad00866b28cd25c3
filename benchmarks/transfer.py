"""What does a step cost under each transfer, beside knowledge distillation, and beside the usual public code?

    PYTHONPATH=workflow python benchmarks/transfer.py --rounds 5

A step is what the training makes of a batch: both networks, the term, gradients, SGD; images are not augmented. The
public steps are those of the collection that most tables of distillation come from, written out plainly: every map of
both networks, losses and accuracies read back in each step, FSP's Gram matrices as a broadcast product and a mean. All
take turns in one run and are measured by processor time on a CPU, since only ratios of one run count.
"""

import argparse
import random
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera import registry
from tessera.data.normalization import Normalization
from tessera.data.store import Dataset, Split
from tessera.jobs import TransferKnowledge
from tessera.models.heads.vectors import VectorHead
from tessera.models.networks.build import build_network
from tessera.models.store import StoredClassifier
from tessera.training.compute import Compute
from tessera.training.optimizer import make_optimizer
from tessera.transfer.images import TargetImages, Views
from tessera.transfer.method import TransferMethod
from tessera.transfer.seen import see
from tessera.transfer.teacher import Teacher

CLASSES, IMAGES = 100, 50_000
KD = {"method": "soft_targets", "teacher": "source", "weight": 0.9}
ROWS: dict[str, Any] = {
    "kd": KD,
    "attention": "attention",
    "attention + kd": ["attention", KD],
    "jacobian": "jacobian",
    "crd": {"method": "crd", "negatives": 4_096},
    "fsp": "fsp",
    **{name: name for name in ("nst", "fitnet", "vid", "rkd", "similarity", "correlation", "pkt")},
}
# (a row, those of which it is compared with the slowest, most that it may take of that)
LIMITS = [
    ("attention + kd", ("attention", "kd"), 1.05),
    ("jacobian", ("kd",), 3.2),
    ("crd", ("kd",), 1.4),
    ("kd", ("public kd",), 0.9),
    ("fsp", ("public fsp",), 0.5),
]


def target(size: int) -> Dataset:
    """As many images as CIFAR-100 has, all the same one in memory."""
    image = torch.randint(256, (1, 3, size, size), dtype=torch.uint8)
    split = Split(image.expand(IMAGES, -1, -1, -1), torch.randint(CLASSES, (IMAGES,)))
    names = tuple(map(str, range(CLASSES)))
    return Dataset(names, size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), {"train": split, "test": split})


def encoder_of(name: str) -> tuple[Any, Any]:
    """An encoder with fresh weights, and its options."""
    options = registry.parts("encoder")[name].options(name=name)
    return registry.load("encoder", name)(options), options


class Row:
    """A training of one line of the table, and its step; of FSP the stage that has its loss."""

    def __init__(self, transfer: Any, images: TargetImages, batch: tuple[Tensor, ...], options: Any) -> None:
        self.compute = Compute(torch.device(options.device), options.precision)
        settings = TransferKnowledge.model_validate({
            "transfer": transfer,
            "network": {"name": "classifier", "encoder": options.student},
            "label_fraction": 1.0, "epochs": 1, "first_stage_epochs": 1, "iterations": 1, "batch_size": options.batch,
            "augmentation": "none", "optimizer": {},
        })  # fmt: skip
        assert settings.network is not None
        dataset = images.dataset
        encoder, of = encoder_of(options.teacher)
        head = VectorHead(encoder.num_features, (), CLASSES).to(self.compute.device)
        classifier = StoredClassifier(head, (), dataset.classes)
        self.compute.place(encoder)
        self.teacher = Teacher(encoder, of, Normalization(*dataset.normalization), classifier)
        self.network = build_network(settings.network, CLASSES, options.image_size)
        self.compute.place(self.network)
        self.method: TransferMethod = registry.load("transfer", settings.transfer.name)(settings.transfer)
        self.method.fit_teacher(self.network, self.teacher, images, self.compute, 0)
        self.compute.place(self.method)
        self.method.begin_epoch(self.network, images, self.compute, 0, 0)
        self.two_stage, self.images, self.batch = settings.transfer.two_stage, images, batch
        self.differentiates_input = settings.transfer.differentiates_input
        groups = (self.method.first_stage_groups if self.two_stage else self.method.parameter_groups)(self.network)
        self.optimizer = make_optimizer(settings.optimizer, *groups)
        self.network.train()

    def step(self) -> None:
        images, labels, rows = self.batch
        views = self.images.views(images, rows, torch.Generator())
        if self.differentiates_input:
            pixels = views.pixels.requires_grad_()
            views = Views(pixels, self.images.normalize(pixels))
        with self.compute.autocast():
            if self.two_stage:
                loss = self.method.first_stage_loss(views, self.network)
            else:
                seen = see(views, labels, rows, self.network, self.teacher, self.method.reads)
                loss = self.method.loss(seen, self.network)
                (seen.logits.argmax(dim=1) == labels).float().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class Public:
    """A student and a teacher of the same networks, in PyTorch's own order of dimensions, and the usual steps."""

    def __init__(self, batch: tuple[Tensor, ...], options: Any) -> None:
        self.student, self.teacher = (
            encoder_of(name)[0].to(options.device) for name in (options.student, options.teacher)
        )
        self.heads = [nn.Linear(side.num_features, CLASSES).to(options.device) for side in (self.student, self.teacher)]
        self.images, self.labels = batch[0].float() / 127.5 - 1, batch[1]
        trained = [*self.student.parameters(), *self.heads[0].parameters()]
        self.optimizer = torch.optim.SGD(trained, 0.05, momentum=0.9, weight_decay=5e-4)
        self.student.train()
        self.teacher.eval()

    def passed(self) -> tuple[list[Tensor], Tensor, list[Tensor], Tensor]:
        ours = list(self.student.layers(self.images).values())
        logits = self.heads[0](ours[-1].mean(dim=(2, 3)))
        with torch.no_grad():
            theirs = [found.detach() for found in self.teacher.layers(self.images).values()]
            answers = self.heads[1](theirs[-1].mean(dim=(2, 3)))
        return ours, logits, theirs, answers

    def kd(self) -> None:
        _, logits, _, answers = self.passed()
        log_q, p = F.log_softmax(logits / 4, dim=1), F.softmax(answers / 4, dim=1)
        soft = F.kl_div(log_q, p, reduction="sum") * 16 / len(logits)
        self.update(0.1 * F.cross_entropy(logits, self.labels) + 0.9 * soft)
        top = self.labels == logits.topk(5, dim=1).indices.T
        for most in (1, 5):
            top[:most].flatten().float().sum().item()

    def fsp(self) -> None:
        ours, _, theirs, _ = self.passed()
        losses = [(a - b).square().mean() for a, b in zip(self.grams(ours), self.grams(theirs), strict=True)]
        self.update(sum(losses, torch.zeros((), device=self.labels.device)))

    @staticmethod
    def grams(maps: list[Tensor]) -> list[Tensor]:
        found = []
        for first, second in pairwise(maps):
            if first.shape[2] > second.shape[2]:
                first = F.adaptive_avg_pool2d(first, (second.shape[2], second.shape[3]))
            found.append((first.flatten(2)[:, None] * second.flatten(2)[:, :, None]).mean(dim=3))
        return found

    def update(self, loss: Tensor) -> None:
        loss.item()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--teacher", default="resnet26")
    parser.add_argument("--student", default="resnet8")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=[name for name, *_ in LIMITS] + ["attention"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dataset = target(options.image_size)
    rows = torch.arange(options.batch)
    images = torch.randint(256, (options.batch, 3, options.image_size, options.image_size), dtype=torch.uint8)
    batch = tuple(tensor.to(options.device) for tensor in (images, dataset.train.labels[rows], rows))
    normalize = dataset.normalization.of_pixels(torch.device(options.device))
    shown, public = TargetImages(dataset, torch.arange(IMAGES), None, normalize), Public(batch, options)
    ways: dict[str, Callable[[], None]] = {
        **{name: Row(ROWS[name], shown, batch, options).step for name in ROWS if name in options.rows},
        "public kd": public.kd,
        "public fsp": public.fsp,
    }
    clock = time.process_time if options.device == "cpu" else time.perf_counter

    def timed(way: Callable[[], None]) -> float:
        start = clock()
        for _ in range(options.steps):
            way()
        if options.device != "cpu":
            torch.cuda.synchronize()
        return clock() - start

    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        timed(way)
    order = list(ways.items())
    for turn in range(options.rounds):  # in an order of its own, so that none follows the same other each time
        random.Random(turn).shuffle(order)
        for name, way in order:
            seconds[name].append(timed(way))

    def ratio(name: str, other: str) -> float:
        return median(mine / theirs for mine, theirs in zip(seconds[name], seconds[other], strict=True))

    for name, found in seconds.items():
        print(f"{name:16s} {ratio(name, 'kd'):6.3f} x kd   {1000 * median(found) / options.steps:8.1f} ms a step")
    for name, others, most in LIMITS:
        if {name, *others} <= seconds.keys():
            slowest = max(others, key=lambda other: median(seconds[other]))
            print(f"{name} / {slowest}: {ratio(name, slowest):.3f}, at most {most}")


if __name__ == "__main__":
    main()
