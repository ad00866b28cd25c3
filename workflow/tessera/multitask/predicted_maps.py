"""What tasks that learn maps predict of a few test images: pictures that are kept beside their figures."""

import json
from typing import Any

import torch

from tessera.data.normalization import Normalization
from tessera.data.store import Split
from tessera.data.thumbnails import sheet, shrink
from tessera.multitask.store import StoredTasks
from tessera.tasks.base import plain_view, seen_labels, shared_views
from tessera.tasks.dense import DenseTask
from tessera.training.compute import Compute

FOLDER = "maps"
ABOUT = f"{FOLDER}/maps.json"
IMAGES = 4
MOST_PX = 192  # of a picture's side


@torch.no_grad()
def map_pictures(stored: StoredTasks, test: Split, normalization: Normalization, compute: Compute) -> dict[str, bytes]:
    """`maps/maps.json` and the pictures that it names; nothing where no task learns maps.

    The images are spread evenly over the test split, whatever is predicted of them, so that every network is shown on
    the same ones. All is made of their labels and of what is predicted at full size, and then made smaller.

    Shape of maps.json:
        images: rows of the test split; file, strip: what is shown of them, and where it lies in that file
            (`thumbnails.Strip`).
        tasks: a list of `task`, `caption`, `legend` (pairs of a class that occurs and its colour, `#rrggbb`), `file`,
            and `views`: a list of `name` (`right`, `predicted`, `error`) and `strip`.
    """
    tasks = {name: task for name, task in stored.tasks.items() if isinstance(task, DenseTask)}
    if not tasks:
        return {}
    rows = torch.tensor(sorted({image * len(test) // IMAGES for image in range(IMAGES)}))
    some = test.subset(rows).to(compute.device)
    view = plain_view(some.images[:], shared_views(task.options for task in stored.tasks.values()))
    seen = view.images(some.images[:])
    with compute.autocast():
        predictions = compute.place(stored.network).eval()(normalization.of_images(compute.device)(seen))
    image_file = f"{FOLDER}/images.jpg"
    content, (strip,) = sheet([shrink(seen, MOST_PX)])
    files, told = {image_file: content}, list[dict[str, Any]]()
    for number, (name, task) in enumerate(tasks.items(), start=1):
        batch = task.batch_of(seen, seen_labels(view, task.labels_of(some), task.statistics.columns))
        preview = task.preview(batch, predictions[name], len(rows))
        views = {key: pictures for key, pictures in preview.views.items() if key != "shown"}
        file = f"{FOLDER}/{number}.png"
        files[file], strips = sheet([shrink(pictures, MOST_PX) for pictures in views.values()], lossless=True)
        told.append(
            {
                "task": name,
                "caption": preview.caption,
                "legend": task.legend(predictions[name], batch.labels),
                "file": file,
                "views": [{"name": key, "strip": at} for key, at in zip(views, strips, strict=True)],
            }
        )
    about = {"images": rows.tolist(), "file": image_file, "strip": strip, "tasks": told}
    return {ABOUT: (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode(), **files}
