"""Does preparing packed shards take memory that grows with the dataset, and how fast are packed images made and read?

    PYTHONPATH=workflow python benchmarks/preparation.py --images 2000 --threads 1

Each preparation runs in a process of its own, over synthetic JPEGs in a temporary folder: N images, and four times as
many. What is compared is the peak of resident memory while it prepares, beyond what the process has when it begins
(Linux: `getrusage` would count what the parent had, too); bytes packed are shown beside it. Reading draws random
batches of the larger set and decodes them to squares of `--image-size`.
"""

import argparse
import logging
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tessera.data.datasets.options.licensed import ImagenetOptions
from tessera.data.images import image_batches
from tessera.data.prepare import prepare_dataset
from tessera.data.store import load_dataset
from tessera.training.randomness import index_batches

CLASSES = 10
VARIETY = 50  # images that differ; the others are copies


def write_tree(root: Path, number: int) -> None:
    """Files as ImageNet's: about 500 x 375 px and 110 KB."""
    random = np.random.default_rng(0)
    contents = []
    for _ in range(min(VARIETY, number)):
        coarse = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = (smooth + random.integers(-24, 25, smooth.shape)).clip(0, 255).astype(np.uint8)
        path = root / "draft.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(path, "jpeg", quality=85)
        contents.append(path.read_bytes())
        path.unlink()
    for row in range(number + CLASSES):
        split = "train" if row < number else "val"
        file = root / split / f"n{row % CLASSES:08}" / f"{row:07}.JPEG"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contents[row % len(contents)])


def prepare(data_root: Path, name: str, folder: Path, options: argparse.Namespace, answer: Connection) -> None:
    """In a process of its own: seconds, and MB of peak memory before and after."""
    logging.disable()
    torch.set_num_threads(options.threads)
    folder.mkdir()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of what follows
    before, start = peak_mb(), time.perf_counter()
    part = ImagenetOptions(path=name, image_size=options.image_size)
    prepare_dataset(part, data_root, folder, folder.with_suffix(".state"), options.shard_mb * 2**20)
    answer.send((time.perf_counter() - start, before, peak_mb()))


def peak_mb() -> float:
    """The process's peak of resident memory."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def read(folder: Path, batch_size: int, batches: int, threads: int) -> float:
    """Images a second."""
    torch.set_num_threads(threads)
    split = load_dataset(folder, torch.device("cpu")).train
    index = index_batches(len(split), batch_size, batches, torch.Generator().manual_seed(0))
    start = time.perf_counter()
    number = sum(len(images) for images in image_batches(split.images, index))
    return number / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="of the smaller dataset")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--shard-mb", type=int, default=64, help="smaller than in use, so that there are several")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    print(f"{options.threads} thread(s), shards of {options.shard_mb} MB, images of 500 x 375 px")
    print("| images | packed, MB | peak memory, MB | of which the preparation's, MB | images/s |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for number in (options.images, 4 * options.images):
            name, folder = f"source{number}", root / f"packed{number}"
            write_tree(root / name, number)
            ours, theirs = context.Pipe()
            process = context.Process(target=prepare, args=(root, name, folder, options, theirs))
            process.start()
            theirs.close()
            seconds, before, after = ours.recv()
            process.join()
            size = sum(path.stat().st_size for path in folder.glob("images-*.bin")) / 2**20
            print(f"| {number:,} | {size:,.0f} | {after:,.0f} | {after - before:,.0f} | {number / seconds:,.0f} |")
        rate = read(folder, options.batch_size, options.batches, options.threads)
    print(f"batches of {options.batch_size} at {options.image_size} px: {rate:,.0f} images/s")


if __name__ == "__main__":
    main()
