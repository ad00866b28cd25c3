"""Resume states as no training of this job leaves them; each must be set aside with one warning."""

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tessera.training.checkpoint import Checkpoint

State = dict[str, Any]

LATER = {"views", "snapshots", "extends", "compiled"}  # states of before have none of these, and are gone on from


class Interrupted(Exception):  # noqa: N818
    """What ends a training after its first state."""


def misfits(state: State) -> dict[str, Any]:
    """Variants of a whole state, by what is wrong with them."""

    def changed(change: Callable[[State], object]) -> State:
        other = copy.deepcopy(state)
        change(other)
        return other

    optimizer = _optimizer(state)
    variants: dict[str, Any] = {
        "nothing": {},
        "a list": [state],
        **{f"without {name}": changed(lambda other, name=name: other.pop(name)) for name in state if name not in LATER},
        "no rows": changed(lambda other: other["history"].clear()),
        "too many rows": changed(lambda other: other.update(history=_many(other["history"][0]))),
        "rows of other epochs": changed(lambda other: other["history"][0].update(_later(other["history"][0]))),
        "text for history": changed(lambda other: other.update(history="history")),
        "another network": changed(_enlarge_last),
        "a weight more": changed(lambda other: _network(other).update(more=torch.ones(2))),
    }
    if optimizer is not None:
        variants |= {
            "fewer groups": changed(lambda other: _optimizer(other)["param_groups"].pop()),  # type: ignore[index]
            "another weight decay": changed(lambda other: _decay(_optimizer(other))),
            "momentum of other weights": changed(lambda other: _reshape(_optimizer(other))),
            "another kind of optimiser": changed(lambda other: _rename(_optimizer(other))),
        }
    return variants


@contextmanager
def interrupted(patch: Any) -> Iterator[None]:
    """Ends the training in the block when it has saved its first state."""
    save = Checkpoint.save

    def once(self: Checkpoint, *arguments: Any) -> None:
        save(self, *arguments)
        raise Interrupted

    with patch.context() as within:
        within.setattr(Checkpoint, "save", once)
        try:
            yield
        except Interrupted:
            return
    raise AssertionError("nothing was saved")


def check_misfits(
    train: Callable[[Path | None], bytes], folder: Path, patch: Any, caplog: Any, name: str = "state"
) -> None:
    """Sets a training before each of the variants, and compares what it ends with, byte by byte.

    Args:
        train: Trains with this folder for its state, in a state of the random generators that is no training's.
        folder: For the state.
    """
    undisturbed = train(None)
    with interrupted(patch):
        train(folder)
    checkpoint = Checkpoint(folder, name)
    state = checkpoint.load()
    assert state is not None
    variants = misfits(state)
    assert len(variants) >= 12
    assert checkpoint.path is not None
    elsewhere = Checkpoint(folder.parent.parent / "another-job" / "state", name)
    assert elsewhere.path is not None
    elsewhere.path.parent.mkdir(parents=True)
    for what, variant in variants.items():
        checkpoint.save(variant)
        found, warnings = _trained(train, folder, caplog)
        assert (found == undisturbed, warnings) == (True, 1), what
        assert checkpoint.path.with_suffix(".damaged").exists()
    for what, save in {
        "another job's": lambda: elsewhere.save(state),
        "an older version's": lambda: torch.save(state, elsewhere.path),
    }.items():
        save()
        elsewhere.path.replace(checkpoint.path)
        found, warnings = _trained(train, folder, caplog)
        assert (found == undisturbed, warnings) == (True, 1), what
    checkpoint.save(state)
    assert _trained(train, folder, caplog) == (undisturbed, 0)


def _trained(train: Callable[[Path | None], bytes], folder: Path, caplog: Any) -> tuple[bytes, int]:
    caplog.clear()
    torch.manual_seed(99)
    with caplog.at_level(logging.WARNING, "tessera"):
        found = train(folder)
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert all("training starts anew" in line and "\n" not in line for line in told), told
    return found, len(told)


def _network(state: State) -> State:
    found: State = state["encoder"] if "encoder" in state else state["network"]
    return found


def _optimizer(state: State) -> State | None:
    found: State | None = state.get("optimizer", next(iter(state.get("optimizers", {}).values()), None))
    return found


def _enlarge_last(state: State) -> None:
    weights = _network(state)
    name = [name for name, value in weights.items() if isinstance(value, Tensor) and value.ndim][-1]
    weights[name] = torch.cat([weights[name], weights[name]])


def _decay(optimizer: Any) -> None:
    optimizer["param_groups"][0]["weight_decay"] = 0.3


def _reshape(optimizer: Any) -> None:
    kept = list(optimizer["state"].values())[-1]
    name = next(name for name in ("momentum_buffer", "exp_avg") if name in kept)
    kept[name] = torch.cat([kept[name]] * 2)


def _rename(optimizer: Any) -> None:
    for group in optimizer["param_groups"]:
        if group.pop("betas", None) is None:
            group["betas"] = (0.9, 0.999)


def _later(row: dict[str, Any]) -> dict[str, Any]:
    name = "epoch" if "epoch" in row else "iteration"
    return {name: row[name] + 7}


def _many(row: dict[str, Any]) -> list[dict[str, Any]]:
    name, step = ("epoch", 1) if "epoch" in row else ("iteration", 2)
    return [{**row, name: row[name] + step * number} for number in range(9)]
