"""What every balancing is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from tessera.registry import Options


class Balancing(nn.Module, ABC):
    """How are losses or gradients weighed? A module, since some weights are learned or remembered.

    Args:
        options: What the study set.
        tasks: Names of the tasks, in the study's order.
    """

    def __init__(self, options: Options, tasks: Sequence[str]) -> None:
        super().__init__()
        self.options = options
        self.tasks = tuple(tasks)

    @abstractmethod
    def backward(self, losses: Mapping[str, Callable[[], Tensor]], shared: Sequence[nn.Parameter]) -> None:
        """Leaves the gradient of one step in `.grad`, of the shared parameters and of the tasks' own.

        Args:
            losses: For each task of the step, a function that makes its forward pass and returns its loss, (),
                float32. Call each once, and take its gradient before the next: then one graph is alive at a time.
            shared: Parameters of the encoder, for methods that compare the tasks' gradients.
        """

    def end_epoch(self, losses: Mapping[str, float]) -> None:
        """Told each task's mean loss of the epoch, for methods that follow its course."""
