"""Extremes: very many messages, images in memory, a very long name, a name that is no line, one colour."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hostile_archives import member, write_tar

from tessera.data import decode
from tessera.data.datasets.options.image_folder import ImageFolderOptions
from tessera.data.decode import Encoded, map_in_threads
from tessera.data.prepare import prepare_dataset, tell_skipped
from tessera.data.reading import printable
from tessera.errors import DataError


def test_what_is_passed_over_a_thousand_times_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    tell_skipped([f"x/{i}.txt: not an image" for i in range(200_000)])
    assert len(caplog.messages) == 6
    assert caplog.messages[0] == "passed over x/0.txt: not an image"
    assert caplog.messages[5] == "passed over 199995 more: not an image"
    caplog.clear()
    lines = [f"{i}.xml: object {i} (`cat`) has no area (xmin {i}). Correct or remove it." for i in range(99)]
    tell_skipped([*lines, "x.png: a link"])
    assert caplog.messages[5:] == [
        "passed over x.png: a link",
        "passed over 94 more: object … … has no area …. Correct or remove it.",
    ]
    caplog.clear()
    tell_skipped([f"x: reason {chr(97 + i)}{chr(97 + j)}" for i in range(26) for j in range(26)])
    assert len(caplog.messages) == 36
    assert caplog.messages[-1] == f"passed over {26 * 26 - 35} more for other reasons"


def test_images_that_wait_in_memory_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive of large members is read no further ahead than memory should hold."""
    monkeypatch.setattr(decode.torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(decode, "HELD", 4000)
    monkeypatch.setattr(decode, "CHUNK_HELD", 1000)
    taken, ahead = [0], []

    def items() -> Iterator[Encoded]:
        for number in range(300):
            taken[0] = number
            yield Encoded(str(number), lambda: b"", 400)

    for done, chunk in enumerate(map_in_threads(list, items(), 64, lambda image: image.held)):
        assert len(chunk) <= 3
        ahead.append(taken[0] - 3 * done)
    assert max(ahead) <= 15


def test_a_name_is_one_line_whatever_it_holds() -> None:
    assert printable("a/é 猫.png") == "a/é 猫.png"
    assert printable("\n\x1b\udcff\u2028") == r"\n\x1b\udcff\u2028"
    assert len(printable("x" * 10**6)) == 201


def test_names_of_classes_are_looked_at_in_every_dataset(tmp_path: Path) -> None:
    write_tar(tmp_path / "data" / "x.tar", member("train/c\nd/9.png"))
    (tmp_path / "made").mkdir()
    options = ImageFolderOptions(path="x.tar", image_size=8)
    with pytest.raises(DataError, match=r"^x: the class's name `c\\nd` is not printable\. Rename it\.$"):
        prepare_dataset(options, tmp_path / "data", tmp_path / "made")


@pytest.mark.parametrize("value", [0, 7, 255])
def test_images_of_one_colour_have_a_deviation_to_divide_by(value: int, tmp_path: Path) -> None:
    from tessera.data.store import save_dataset

    (tmp_path / "made").mkdir()
    images, labels = np.full((4, 8, 8, 3), value, np.uint8), np.zeros(4, np.int64)
    save_dataset(tmp_path / "made", images, labels, {"train": np.arange(2), "test": np.arange(2, 4)}, ["a"])
    import torch

    from tessera.data.store import load_dataset

    dataset = load_dataset(tmp_path / "made", torch.device("cpu"))
    assert dataset.mean == pytest.approx([value / 255] * 3)
    assert min(dataset.std) > 0
    mean, std = (torch.tensor(values)[:, None, None] for values in dataset.normalization)
    assert ((dataset.train.images[torch.arange(2)] / 255 - mean) / std).abs().max() < 1e-2
