"""What each task sees and predicts of a few held-out images, when the training has ended."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from tessera.data.thumbnails import save_sheet, shrink
from tessera.multitask.batch_norm import batch_statistics
from tessera.multitask.learner import Learner
from tessera.tasks.base import Preview
from tessera.training.randomness import generator_of

IMAGES = 6
MOST_PX = 96  # of a picture's side


@torch.no_grad()
def make_previews(learner: Learner) -> dict[str, Preview]:
    """A preview of each task that has one, always of the same held-out images.

    Batch norms use the statistics of a whole batch, dropout is off, and nothing of the learner changes: what it was in
    evaluation mode before, it is afterwards.
    """
    found: dict[str, Preview] = {}
    size = learner.held_out_batch
    some = learner.held_out.subset(torch.arange(size))
    for name, task in learner.tasks.items():
        # A generator a task: what is drawn for it depends on no other task, and on no trial.
        images = learner.shows[name](some.images[:])
        batch = task.make_batch(images, task.labels_of(some), generator_of("preview", learner.drawn_by[name]))
        modules = learner.encoder, learner.head(name), learner.sharing, learner.regularizer
        with batch_statistics(*modules):
            prediction = learner.predict({name: batch})[name]
        for module in modules:
            module.eval()
        preview = task.preview(batch, prediction, min(IMAGES, size))
        if preview is not None:
            found[name] = preview
    return found


def save_previews(previews: Mapping[str, Preview], folder: Path) -> None:
    """Writes `previews.json`, and the pictures as `previews-<n>.jpg`, one file a task; nothing without previews."""
    if not previews:
        return
    tasks = []
    for number, (name, preview) in enumerate(previews.items(), start=1):
        strips = [shrink(images, MOST_PX) for images in preview.views.values()]
        file = f"previews-{number}.jpg"
        kept = save_sheet(strips, folder / file)
        views = [{"name": view, "strip": strip} for view, strip in zip(preview.views, kept, strict=True)]
        tasks.append({"task": name, "file": file, "caption": preview.caption, "views": views})
    (folder / "previews.json").write_text(json.dumps({"tasks": tasks}, indent=1) + "\n", encoding="utf-8")
