"""An encoder's passes as kernels compiled for it: decided once a training, by what was measured once a machine.

Compiled kernels compute the same, and round otherwise: a training keeps to what it began with. PyTorch's compiler is
imported only where it may pay, for its import alone takes seconds.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import asdict, dataclass
from hashlib import sha256
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, TypeVar, cast

import torch
from filelock import FileLock
from torch import Tensor, nn

from tessera.files import replace_text
from tessera.provenance import hardware
from tessera.training.compute import Compute

log = logging.getLogger("tessera")

M = TypeVar("M", bound=nn.Module)

FEWEST = 1_000  # passes of a training that is looked at: in fewer nothing is gained, and a look is a pass of each kind
# Seconds of passes in which compiling may pay: three shapes take two minutes of a processor, which passes 1.4 times as
# fast would give back twice in a quarter of an hour. A look at such a training costs an eighth of it, once for a
# machine, encoder, shape and precision.
SHORTEST_S = {"cpu": 900.0, "cuda": 600.0}
MARGIN = 2.0  # how many times what compiling takes must be saved: figures of a busy machine are rough
_ROUNDS = 5
_TURN_S = 0.2  # of passes between two looks at the clock
_MOST_SHAPES = 64  # PyTorch's own limit, 8, is one of a single network; its copies count as well


class Planned(NamedTuple):
    """Passes that a training will take.

    Attributes:
        inputs: (M, 3, h, w) float32, on the device, one batch of them.
        number: How many passes have inputs of this shape.
    """

    inputs: Tensor
    number: int


@dataclass(frozen=True)
class Cost:
    """What a pass forth and back takes, seconds; of passes that were never compiled `compiled_s` is None.

    Attributes:
        compile_s: What compiling took, where no kernel was there yet.
    """

    eager_s: float
    compiled_s: float | None = None
    compile_s: float = 0.0


def worth_a_look(compute: Compute, passes: int) -> bool:
    """Whether `chooses_compiled` is to be asked, for which batches are made."""
    return compute.compile is True or (compute.compile == "auto" and passes >= FEWEST)


def chooses_compiled(encoder: nn.Module, planned: Sequence[Planned], compute: Compute) -> bool:
    """Whether a training is to compile its encoder's passes.

    `compute.compile` says so; under `auto` they are compiled where that saves at least twice what it takes. The encoder
    is measured on copies, once for each kind of machine, version of PyTorch, encoder, precision, shape and number of
    threads; `compute.kept` has the figures, so that later trainings decide alike. A training that is too short for any
    gain is not measured.

    Args:
        encoder: On the device, no step taken.
    """
    if (why := _lack(compute.device)) is not None:
        if compute.compile is True:
            log.warning("compile: %s, so nothing is compiled", why)
        else:
            log.info("compile: %s, so nothing is compiled", why)
        return False
    return (compute.compile is True or _pays(encoder, planned, compute)) and works(encoder, planned, compute)


def works(encoder: nn.Module, planned: Sequence[Planned], compute: Compute) -> bool:
    """Whether such passes can be compiled here, tried on a copy; says why not."""
    try:
        copy = Compiled(compute)(deepcopy(encoder).train())
        for each in planned:
            _seconds(copy, each.inputs, compute)
    except Exception as error:  # whatever a compiler raises
        log.warning("compile: the encoder cannot be compiled here (%s), so it is not", _in_a_line(error))
        return False
    return True


class Compiled:
    """Encoders as the steps of a training call them: the same weights, compiled passes.

    All or nothing: an encoder whose pass is not one graph raises at its first call. Shapes are compiled one by one, so
    that what a pass computes does not depend on which shapes came before.
    """

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._made: dict[nn.Module, Any] = {}

    def __call__(self, encoder: M) -> M:
        """The encoder; what is asked of it other than a call is the encoder's own."""
        if encoder not in self._made:
            _prepare(self._compute)
            self._made[encoder] = torch.compile(encoder, fullgraph=True, dynamic=False, backend=_backend)
        found: M = self._made[encoder]
        return found


def pays(costs: Sequence[Cost], planned: Sequence[Planned]) -> bool:
    """Whether compiled passes save a training at least `MARGIN` times what compiling takes."""
    saved = 0.0
    for cost, each in zip(costs, planned, strict=True):
        saved += each.number * (0.0 if cost.compiled_s is None else cost.eager_s - cost.compiled_s)
    return saved > MARGIN * sum(cost.compile_s for cost in costs)


def _pays(encoder: nn.Module, planned: Sequence[Planned], compute: Compute) -> bool:
    with _alone(compute.kept):
        costs = [_looked_up(encoder, each.inputs, compute) for each in planned]
        seconds = sum(cost.eager_s * each.number for cost, each in zip(costs, planned, strict=True))
        if seconds < SHORTEST_S.get(compute.device.type, SHORTEST_S["cpu"]):
            return False
        try:
            costs = [_compared(encoder, each.inputs, compute) for each in planned]
        except Exception as error:  # whatever a compiler raises
            log.warning("compile: the encoder cannot be compiled here (%s), so it is not", _in_a_line(error))
            return False
    found = pays(costs, planned)
    shares = ", ".join(f"{cost.eager_s / (cost.compiled_s or cost.eager_s):.2f}" for cost in costs)
    log.info(
        "compile: compiled passes are %s times as fast here, compiling takes %.0f s: %s",
        shares, sum(cost.compile_s for cost in costs), "compiled" if found else "it would not pay",
    )  # fmt: skip
    return found


def _looked_up(encoder: nn.Module, inputs: Tensor, compute: Compute) -> Cost:
    """What is known of such passes, at least what they take as they are."""
    place = _place(encoder, inputs, compute)
    with suppress(OSError, ValueError, KeyError, TypeError):  # none, or none that can be read
        if place is not None:
            return Cost(**json.loads(place.read_text(encoding="utf-8"))["cost"])
    copy = deepcopy(encoder).train()
    _seconds(copy, inputs, compute)
    return _kept(place, encoder, inputs, compute, Cost(min(_seconds(copy, inputs, compute) for _ in range(2))))


def _compared(encoder: nn.Module, inputs: Tensor, compute: Compute) -> Cost:
    """The same, with what compiled passes take: in turns, the least of each, for another process may disturb some."""
    known = _looked_up(encoder, inputs, compute)
    if known.compiled_s is not None:
        return known
    log.info("compile: measuring whether it pays, once for this machine and encoder")
    ways = [deepcopy(encoder).train(), Compiled(compute)(deepcopy(encoder).train())]
    eager_s, compile_s = (_seconds(way, inputs, compute) for way in ways)
    passes = min(50, ceil(_TURN_S / min(known.eager_s, eager_s)))
    found: list[list[float]] = [[], []]
    for turn in range(_ROUNDS):
        for way in (0, 1) if turn % 2 == 0 else (1, 0):
            found[way].append(_seconds(ways[way], inputs, compute, passes))
    cost = Cost(min(found[0]), min(found[1]), max(0.0, compile_s - min(found[1])))
    return _kept(_place(encoder, inputs, compute), encoder, inputs, compute, cost)


def _seconds(encoder: nn.Module, inputs: Tensor, compute: Compute, passes: int = 1) -> float:
    """What one pass forth and back takes, the mean of some."""
    with torch.random.fork_rng(devices=[]):  # an encoder may draw
        _wait(compute.device)
        start = perf_counter()
        for _ in range(passes):
            with compute.autocast():
                z = encoder(inputs)
            z.float().square().mean().backward()
            encoder.zero_grad(set_to_none=True)
        _wait(compute.device)
        return (perf_counter() - start) / passes


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _kept(place: Path | None, encoder: nn.Module, inputs: Tensor, compute: Compute, cost: Cost) -> Cost:
    if place is not None:
        about = {**_kind(encoder, inputs, compute), "cost": asdict(cost)}
        replace_text(place, json.dumps(about, indent=1))
    return cost


def _place(encoder: nn.Module, inputs: Tensor, compute: Compute) -> Path | None:
    """Where the figures of such passes are kept."""
    if compute.kept is None:
        return None
    words = [_kind(encoder, inputs, compute), repr(encoder)]
    return compute.kept / f"{sha256(json.dumps(words).encode()).hexdigest()[:16]}.json"


def _kind(encoder: nn.Module, inputs: Tensor, compute: Compute) -> dict[str, Any]:
    """Everything that speed depends on, save the encoder's layers."""
    on_gpu = compute.device.type == "cuda"
    return {
        "machine": torch.cuda.get_device_name(compute.device) if on_gpu else hardware()["processor"],
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "precision": str(compute.dtype),
        "encoder": type(encoder).__qualname__,
        "inputs": list(inputs.shape),
    }


@contextmanager
def _alone(folder: Path | None) -> Iterator[None]:
    """One process of a machine measures at a time; the others wait, and then look its figures up."""
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "measuring.lock").acquire(poll_interval=0.2):
        yield


def _lack(device: torch.device) -> str | None:
    """What is missing for kernels to be made, if anything."""
    if not any(shutil.which(name) for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name):
        return "there is no C++ compiler here"
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] < 7:
        return "this GPU is too old for compiled kernels"
    return None


def _prepare(compute: Compute) -> None:
    """Settings of PyTorch's compiler in this process, which it reads when it first compiles."""
    # No more processes than the job was given threads, and kernels where its other states lie.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(torch.get_num_threads()))
    if compute.kept is not None:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str((compute.kept / "kernels").absolute()))
    from torch._dynamo import config

    config.recompile_limit = _MOST_SHAPES
    import torch._functorch.config as functorch

    # Several losses may go back through one pass: kernels are to leave what it needs. It is read when the first one
    # does, too, so that it holds for the process, and not only while a pass is compiled.
    if hasattr(functorch, "donated_buffer"):
        functorch.donated_buffer = False


def _backend(graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
    """PyTorch's own."""
    from torch._inductor.compile_fx import compile_fx

    return cast(Callable[..., Any], compile_fx(graph, inputs))  # its page has the type wrong


def _in_a_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
