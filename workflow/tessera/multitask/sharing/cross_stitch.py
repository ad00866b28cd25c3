"""Cross-stitch sharing: an encoder for each task, their maps mixed after every stage."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from tessera.models.encoders.base import Encoder
from tessera.multitask.sharing.base import Sharing
from tessera.multitask.sharing.norms import StandInNorms
from tessera.multitask.sharing.options import CrossStitchSharingOptions
from tessera.multitask.task_network import head_key


class CrossStitchSharing(Sharing):
    """x'_k = sum_j alpha_kj * x_j after each stage, one alpha a channel; task k goes on from x'_k in its own encoder.

    Source: Misra, Shrivastava, Gupta & Hebert, CVPR 2016, section 3, arXiv:1604.03539: units after pooling layers,
    which we read as after each stage (`Encoder.stages`), z included. alpha_kk starts at `own`, the others of a row
    share the rest; the paper has two tasks, and starts with 0.9 and 0.1. Its units learn 100 to 1000 times as fast. Its
    encoders start from a trained one, ours from weights of their own.

    The encoder that is handed on is that of task `export`, without units. Its batch norms see other maps alone than
    between the others, so there are statistics for both. Every pass runs all encoders, whichever task asks. With one
    task there is no unit, and this is hard sharing.

    Shape:
        features: the task's stitched z, (M, C, h, w).
    """

    options: CrossStitchSharingOptions

    def __init__(
        self,
        options: CrossStitchSharingOptions,
        encoder: Encoder,
        tasks: Sequence[str],
        build_encoder: Callable[[], Encoder],
    ) -> None:
        super().__init__(options, encoder, tasks, build_encoder)
        self.exported = options.export or self.tasks[0]
        self.columns = nn.ModuleDict({head_key(task): build_encoder() for task in tasks if task != self.exported})
        stitched = len(self.tasks) > 1
        self.statistics = StandInNorms(encoder if stitched else nn.Identity(), affine=False)
        channels = {**encoder.inner_channels, **encoder.layer_channels}
        self.stages = [name for name, _ in encoder.stages()] if stitched else []
        # A vector a row, alpha_kj one after the other: in steps of other tasks momentum leaves the last rows alone, and
        # what has one dimension does not decay.
        self.units = nn.ModuleList(
            nn.ParameterList(nn.Parameter(self._start(task, channels[stage])) for task in self.tasks)
            for stage in self.stages
        )

    def _start(self, task: str, channels: int) -> Tensor:
        others = (1 - self.options.own) / (len(self.tasks) - 1)
        values = [self.options.own if other == task else others for other in self.tasks]
        return torch.tensor(values).repeat_interleave(channels)

    def alpha(self, stage: int, task: str) -> Tensor:
        """The row of a task after a stage, (tasks, channels) float32."""
        row = self.units[stage][self.tasks.index(task)]  # type: ignore[index]
        return row.view(len(self.tasks), -1)  # type: ignore[no-any-return]

    def maps(self, encoder: Encoder, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        if not self.stages:
            return {self.exported: encoder(inputs)}
        columns = [encoder if task == self.exported else self._column(task) for task in self.tasks]
        stages = [column.stages() for column in columns]
        made, kept = [inputs] * len(columns), [{} for _ in columns]  # type: ignore[var-annotated]
        with self.statistics.in_place_of(encoder):
            for stage in range(len(self.stages)):
                found = [own[stage][1](one, rest) for own, one, rest in zip(stages, made, kept, strict=True)]
                asked = self.tasks if stage + 1 < len(self.stages) else tasks
                made = [self._mixed(found, self.alpha(stage, task)) for task in asked]
        return dict(zip(tasks, made, strict=True))

    def features(self, task: str, maps: Mapping[str, Tensor]) -> Tensor:
        return maps[task]

    def shared_parameters(self) -> list[nn.Parameter]:
        return list(self.parameters())  # through the units, every loss reaches every encoder

    def last_layers(self, encoder: Encoder) -> list[nn.Module]:
        return [encoder.last_layer, *(self._column(task).last_layer for task in self.tasks if task != self.exported)]

    def groups(self) -> list[tuple[list[nn.Module], float]]:
        return [([self.columns, self.statistics], 1.0), ([self.units], self.options.lr_factor)]

    def figures(self) -> dict[str, float]:
        """`stitch.<task>.<stage>`, 0 to 1: the task's own part of |alpha|, mean over channels."""
        rows = [(task, name, self.alpha(i, task)) for i, name in enumerate(self.stages) for task in self.tasks]
        if not rows:
            return {}
        own = [_own_part(alpha.detach(), self.tasks.index(task)) for task, _, alpha in rows]
        values = torch.stack(own).tolist()
        return {f"stitch.{task}.{name}": value for (task, name, _), value in zip(rows, values, strict=True)}

    def _column(self, task: str) -> Encoder:
        column = self.columns[head_key(task)]
        assert isinstance(column, Encoder)
        return column

    @staticmethod
    def _mixed(found: Sequence[Tensor], alpha: Tensor) -> Tensor:
        first, *others = [one * row.to(one.dtype).view(-1, 1, 1) for one, row in zip(found, alpha, strict=True)]
        mixed: Tensor = sum(others, first)
        return mixed


def _own_part(alpha: Tensor, place: int) -> Tensor:
    sizes = alpha.abs()
    return (sizes[place] / sizes.sum(dim=0).clamp_min(1e-12)).mean()
