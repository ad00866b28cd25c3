"""PTA: each task is solved in several ways at once."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from tessera.multitask.regularizers.base import Pass, Regularizer
from tessera.multitask.regularizers.options import PtaOptions
from tessera.multitask.task_network import head_key


class PseudoTasks(Regularizer):
    r"""A task's loss becomes the mean over D heads that are trained together, $\frac{1}{D} \sum_d L_{k,d}$.

    Source: Meyerson & Miikkulainen 2018, section 3: pseudo-tasks of one task differ by their heads alone, and all
    count alike. Read so: D heads start at random, each by itself (the paper's PTA-I), and none is frozen, disturbed or
    copied later; the task's own head is the first of them, and it alone is validated and handed on, where the paper
    takes the one that validates best. With one head this is the plain training.

    What is added, and recorded, is the mean over the heads less the own head's loss, so it may be negative.

    Shape:
        features: (M, C, h, w), any float dtype.
        returns: () float32.
    """

    options: PtaOptions

    def __init__(self, options: PtaOptions, num_features: int, heads: Mapping[str, Callable[[], nn.Module]]) -> None:
        super().__init__(options, num_features, heads)
        self.others = nn.ModuleDict(
            {head_key(task): nn.ModuleList(build() for _ in range(options.heads - 1)) for task, build in heads.items()}
        )

    def forward(self, seen: Pass) -> Tensor:
        total = -(self.options.heads - 1) * seen.loss
        for head in self.others[head_key(seen.task)].children():
            total = total + seen.loss_by(head, seen.features)
        return total / self.options.heads
