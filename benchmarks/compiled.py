"""Do compiled passes of an encoder pay, and where do its images lie best in memory?

    PYTHONPATH=workflow python benchmarks/compiled.py --precision bfloat16

Passes forth and back in alternating turns of one run; on a processor the clock is the process's own, which another
process disturbs little, and the least of the turns counts. What compiling takes is told with its child processes; run
it with an empty TORCHINDUCTOR_CACHE_DIR, for kernels that are there already are not made again.
"""

import argparse
import resource
import time
from typing import Any

import torch
from torch import Tensor

from tessera import registry
from tessera.multitask.source import Source
from tessera.training.compiled import Compiled
from tessera.training.compute import Compute


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--encoder", default="resnet26")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--passes", type=int, default=2, help="in a turn")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    compute = Compute(torch.device(options.device), options.precision)
    dataset = {"name": "image_folder", "path": "none", "image_size": options.image_size}
    part = Source.model_validate({"dataset": dataset, "encoder": options.encoder, "tasks": ["rotation"]}).encoder
    images = torch.randn(options.batch, 3, options.image_size, options.image_size, device=compute.device)
    last = images.contiguous(memory_format=torch.channels_last)

    def encoder() -> Any:
        return registry.load("encoder", options.encoder)(part).to(compute.device).train()

    def timed(one: Any, inputs: Tensor, passes: int) -> float:
        clock = time.process_time if compute.device.type == "cpu" else time.perf_counter
        start = clock()
        for _ in range(passes):
            with compute.autocast():
                z = one(inputs)
            z.float().square().mean().backward()
            one.zero_grad(set_to_none=True)
        if compute.device.type == "cuda":
            torch.cuda.synchronize()
        return (clock() - start) / passes

    compiled = Compiled(compute)(compute.place(encoder()))
    before = _used()
    timed(compiled, last, 1)
    print(f"{options.encoder}, {compute.dtype}: compiling takes {_used() - before:.0f} s of the processor")
    ways: dict[str, tuple[Any, Tensor]] = {
        "as it is": (compute.place(encoder()), last),
        "as it is, channels first": (encoder(), images),
        "compiled": (compiled, last),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(1 + options.rounds):  # forth and back, so that none is always the first after another
        for name, (one, inputs) in list(ways.items())[:: 1 if turn % 2 == 0 else -1]:
            seconds = timed(one, inputs, options.passes)
            if turn:
                found[name].append(seconds)
    floor = min(found["as it is"])
    for name, seconds_of in found.items():
        fastest = min(seconds_of)
        print(f"{name:26s} {options.batch / fastest:8.0f} images/s   {floor / fastest:.3f} x as fast as it is")


def _used() -> float:
    """Seconds of the processor so far, of this process and of those that it started and that ended."""
    each = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in each)


if __name__ == "__main__":
    main()
