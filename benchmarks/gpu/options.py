"""What the kit is told, and the sizes that follow from it."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAPER_BATCH = 64


def environment_with(*folders: Path) -> dict[str, str]:
    """This process's environment, with folders that go before those in which its own packages may lie."""
    own = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, folders), *filter(None, [own])])}


@dataclass(frozen=True)
class Case:
    """One size of the step's benchmark.

    Attributes:
        px: Side of the images.
        batch: Images of a task's batch.
    """

    encoder: str
    px: int
    batch: int

    @property
    def name(self) -> str:
        return f"{self.encoder}, {self.px} px, batches of {self.batch}"


@dataclass(frozen=True)
class Size:
    """How big everything is.

    Attributes:
        matmul: Side of the matrices that the peak is measured with.
        copy_mb: Size of what is copied to measure the memory's bandwidth.
        steps: Steps of each task in a timed turn.
        rounds: Timed turns; medians are told.
        compiler: Backend of `torch.compile`.
        processes: How many trainings share the device at once, one after the other.
        stacked: Trials that are trained by one call.
        table_rows: Rows of Table 4; None: all.
        table_encoder: The table's encoder.
        tests: Which of the tests, as an expression of pytest's -k; empty: all.
        first_share: Share of the paper's steps in a first table, which also says how long more would take.
    """

    cases: tuple[Case, ...]
    matmul: int
    copy_mb: int
    steps: int
    rounds: int
    compiler: str
    processes: tuple[int, ...]
    stacked: int
    table_rows: tuple[str, ...] | None
    table_encoder: str
    tests: str
    first_share: float


SIZES = {
    "full": Size(
        cases=(
            Case("resnet26", 32, PAPER_BATCH),
            Case("resnet26", 32, 128),
            Case("resnet26", 32, 256),
            Case("resnet50", 64, 128),
            Case("resnet50", 64, 256),
        ),
        matmul=8192,
        copy_mb=1024,
        steps=20,
        rounds=7,
        compiler="inductor",
        processes=(1, 2, 4),
        stacked=3,
        table_rows=None,
        table_encoder="resnet26",
        tests="",
        first_share=0.002,
    ),
    "smoke": Size(
        cases=(Case("resnet8", 32, 8),),
        matmul=256,
        copy_mb=16,
        steps=1,
        rounds=1,
        compiler="eager",  # tries the way there, not the kernels, which take a processor's compiler half a minute
        processes=(1, 2),
        stacked=2,
        table_rows=("TTE, FSP",),
        table_encoder="resnet8",
        tests="rotation-float32 or waits and rotation or hard-own or adam-float32 or knn or two_processes or lease",
        first_share=0.0002,
    ),
}


@dataclass(frozen=True)
class Kit:
    """What `make gpu` was told.

    Attributes:
        device: `cuda` or `cpu`.
        scale: Name of the sizes.
        minutes: How long all of it may take.
        out: Folder of the results.
        work: Folder of what is only needed on the way.
    """

    device: str
    scale: str
    minutes: float
    out: Path
    work: Path

    @property
    def stop_s(self) -> float:
        """Until a step that was told to stop is ended: within the minutes that all of it may take."""
        return min(90.0, 3.6 * self.minutes)

    @property
    def margin_s(self) -> float:
        """Of a step's seconds, what it has for stopping its own processes, before it is told to stop itself."""
        return self.stop_s / 3

    @property
    def size(self) -> Size:
        return SIZES[self.scale]

    def words(self) -> str:
        """Itself, for a process of one step."""
        return json.dumps(
            {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}
        )

    @classmethod
    def of(cls, words: str) -> "Kit":
        """What `words` gave."""
        told: dict[str, Any] = json.loads(words)
        return cls(**{**told, "out": Path(told["out"]), "work": Path(told["work"])})
