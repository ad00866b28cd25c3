"""Datasets of torchvision: opened where they lie, else downloaded once."""

import logging
import socket
from pathlib import Path
from typing import Any

from filelock import FileLock

from tessera.data.reading import refuse_unless_regular
from tessera.errors import DataError

log = logging.getLogger("tessera")

TIMEOUT_S = 30.0  # of each read from the network; torchvision itself would wait for ever


def open_or_download(cls: Any, data_root: Path, **arguments: Any) -> Any:
    """Opens a dataset of torchvision; downloads it only where its files are not there or are damaged.

    Args:
        cls: Its class.
        arguments: Of its class: which split.

    Raises:
        DataError: If the files are not there and cannot be downloaded, or are pipes and the like.
    """
    folder = data_root / cls.base_folder
    listed = [name for words in ("train_list", "test_list") for name, *_ in getattr(cls, words, ())]
    for path in (data_root / cls.filename, *(folder / name for name in listed)):
        if path.exists() and not path.is_dir():
            refuse_unless_regular(path)  # torchvision would read them whatever they are
    try:
        return cls(data_root, download=False, **arguments)
    except (RuntimeError, OSError):  # not found, or another checksum
        pass
    timeout = socket.getdefaulttimeout()
    try:
        data_root.mkdir(parents=True, exist_ok=True)
        # Two jobs must not write the same files: the second one waits, and finds them.
        with FileLock(data_root / f".{cls.filename}.lock"):
            log.info("%s: not under %s; unpacking or downloading %s", cls.base_folder, data_root, cls.filename)
            socket.setdefaulttimeout(TIMEOUT_S)
            return cls(data_root, download=True, **arguments)
    except (RuntimeError, OSError) as error:  # URLError is an OSError
        reason = " ".join(str(error).split())
        raise DataError(
            f"{data_root / cls.base_folder}: not found or damaged, and the download failed ({reason}). "
            f"Put `{cls.filename}` from {cls.url} into {data_root}, or its unpacked folder `{cls.base_folder}`."
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
