"""A picture of what each head reads: |alpha| of every task and unit, where tasks share the encoder by a mixture."""

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from tessera.jobs import FOLDERS, PretrainSource, SummarizeStudy
from tessera.report.pictures.album import Picture
from tessera.report.pictures.drawing import drawing, save
from tessera.report.records import figures, manifest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PREFIX = "share."
WIDTH, CELL, MARGIN = 7.5, 0.32, 1.25  # inches: of the page, a row of a panel, what stands around a panel
CAPTION = (
    "|α| of each task and unit of the encoder: the weight with which a task's head reads that unit. After the last "
    "epoch, mean over the trials; 0: not read at all."
)


@dataclass(frozen=True)
class Panel:
    """One pretraining, over its trials.

    Attributes:
        values: Mean |alpha| over the trials, by task and unit.
    """

    title: str
    trials: int
    tasks: tuple[str, ...]
    units: tuple[str, ...]
    values: Mapping[tuple[str, str], float]


def draw_sharing(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    """Draws `sharing.png`: a heat map for each pretraining that mixes units; nothing where there is none."""
    panels = read_panels(root, summary.artifacts)
    if not panels:
        return []
    with drawing():
        file = save(draw(panels), folder, "sharing")
    return [Picture(file, "What each head reads", CAPTION, "Sharing")]


def read_panels(root: Path, folders: Iterable[str]) -> list[Panel]:
    """The pretrainings among these artifacts whose tasks mix units, each over its trials, in the artifacts' order.

    These are the ones with figures `share.<task>.<unit>`.

    Raises:
        ArtifactError: If a source artifact is damaged.
    """
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    settings: dict[tuple[str, str], dict[str, str]] = {}
    for name in folders:
        folder = root / name
        if Path(name).parent.name != FOLDERS[PretrainSource.stage] or not (folder / "metrics.json").exists():
            continue
        metrics = {key: value for key, value in figures(folder).items() if value is not None}
        if not any(key.startswith(PREFIX) for key in metrics):
            continue
        flat = dict(_leaves(manifest(folder).get("settings", {})))
        words = re.sub(r"(\.t\d+)?-[0-9a-f]{8}$", "", folder.name)
        key = words, json.dumps(flat, sort_keys=True)
        settings[key] = flat
        found.setdefault(key, []).append(metrics)
    return [_panel(_title(key, settings), trials) for key, trials in found.items()]


def draw(panels: list[Panel]) -> "Figure":
    """The panels side by side, all with one scale of colours."""
    from matplotlib.figure import Figure

    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    heights = [
        max(CELL * len(panel.tasks) for panel in panels[line * columns : (line + 1) * columns]) for line in range(lines)
    ]
    size = WIDTH if columns > 1 else 0.6 * WIDTH, sum(heights) + lines * MARGIN
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, height_ratios=heights).flatten().tolist()
    for ax, panel in zip(axes, panels, strict=False):
        picture = _draw_panel(ax, panel)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    bar = figure.colorbar(picture, ax=axes[:columns], location="right", aspect=15, pad=0.03)
    bar.set_label("|α|")
    bar.outline.set_visible(False)
    return figure


def _draw_panel(ax: "Axes", panel: Panel) -> Any:
    rows = [[panel.values[task, unit] for unit in panel.units] for task in panel.tasks]
    picture = ax.imshow(rows, cmap="Blues", vmin=0, vmax=1, aspect="auto")  # one hue: reads with any sight, and in gray
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            ax.text(x, y, f"{value:.2f}", ha="center", va="center", color="white" if value > 0.62 else "black")
    ax.set_xticks(range(len(panel.units)), panel.units, rotation=25, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(panel.tasks)), panel.tasks)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    trials = "one trial" if panel.trials == 1 else f"mean of {panel.trials} trials"
    ax.set_title("\n".join([*textwrap.wrap(panel.title, 46, break_on_hyphens=False), trials]), fontsize=8)
    return picture


def _panel(title: str, trials: list[dict[str, float]]) -> Panel:
    tasks = [key.removesuffix(".loss") for key in trials[0] if key.endswith(".loss")]
    values = {}
    for key in trials[0]:
        if key.startswith(PREFIX):
            # Names of a user's own tasks, and those of units, have dots in them.
            task = next(task for task in tasks if key.startswith(f"{PREFIX}{task}."))
            values[task, key.removeprefix(f"{PREFIX}{task}.")] = fmean(metrics[key] for metrics in trials)
    units = dict.fromkeys(unit for _, unit in values)
    return Panel(title, len(trials), tuple(dict.fromkeys(task for task, _ in values)), tuple(units), values)


def _title(key: tuple[str, str], settings: Mapping[tuple[str, str], Mapping[str, str]]) -> str:
    """The artifacts' words and, where pretrainings share them, the settings in which they differ."""
    words, flat = key[0], settings[key]
    others = [other for (name, _), other in settings.items() if name == words]
    differing = [path for path in flat if len({other.get(path) for other in others}) > 1]
    told = [f"{path.removeprefix('source.')} {flat[path]}" for path in differing]
    return ", ".join([words.replace(".", ", "), *told])


def _leaves(settings: Any, path: str = "") -> Iterator[tuple[str, str]]:
    pairs = settings.items() if isinstance(settings, Mapping) else enumerate(settings)
    for key, value in pairs:
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping | list) and value:
            yield from _leaves(value, here)
        else:
            yield here, value if isinstance(value, str) else json.dumps(value)
