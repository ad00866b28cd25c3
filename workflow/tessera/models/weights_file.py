"""Reads a file of weights, whoever wrote it, into an encoder. Nothing in it is executed."""

import json
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import safe_open
from torch import Tensor

from tessera.errors import StudyError, brief
from tessera.models.encoders.base import Encoder
from tessera.models.store import not_finite

# Names under which codes keep a state dict in a checkpoint, and what they put before its names.
Entry = Literal["state_dict", "model_state_dict", "model", "net"]
Prefix = Literal["module.", "encoder.", "backbone.", "model."]
# First words of what stands behind an encoder: it may be left over.
Head = Literal["fc", "classifier", "head", "heads", "linear", "last_linear", "projection", "projector"]
STATISTICS = ("running_mean", "running_var")
MEGABYTE = 2**20


@dataclass(frozen=True)
class WeightsFile:
    """What a file holds.

    Attributes:
        tensors: Name to values, on the CPU.
        about: What Tessera wrote beside its own weights; empty in other files.
    """

    tensors: dict[str, Tensor]
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Taken:
    """What an encoder took over.

    Attributes:
        left_over: Tensors of the file that are no part of the encoder, such as a classifier's.
        has_statistics: Whether the statistics of all its batch norms were in the file.
    """

    left_over: dict[str, Tensor]
    has_statistics: bool


def read_weights(path: Path) -> WeightsFile:
    """Reads safetensors, or what `torch.save` wrote of a state dict, alone or as an entry of a checkpoint.

    Raises:
        StudyError: If the file is damaged, asks to run code, or holds no tensors.
    """
    try:
        if path.name.endswith(".safetensors"):
            with safe_open(path, framework="pt", device="cpu") as file:
                about = json.loads((file.metadata() or {}).get("tessera", "{}"))
                return WeightsFile({name: file.get_tensor(name) for name in file.keys()}, about)  # noqa: SIM118
        with warnings.catch_warnings(action="ignore"):  # of old forms that can be read
            content = torch.load(path, map_location="cpu", weights_only=True)
        _compare_checksums(path)
        state = _state_dict(content)
    except MemoryError:
        raise
    except Exception as error:  # of a damaged pickle: whatever its bytes happen to ask for
        raise StudyError(f"{path}: {_why_not(error)}") from error
    if state is None:
        raise StudyError(
            f"{path}: holds no state dict, neither by itself nor as {', '.join(get_args(Entry))}, but "
            f"{_form(content)}: save one, as in `torch.save(network.state_dict(), file)`"
        )
    return WeightsFile(state, {})


def _compare_checksums(path: Path) -> None:
    """Compares what `torch.save` wrote with its checksums, which `torch.load` does not look at.

    Raises:
        zipfile.BadZipFile: If a byte is another.
    """
    if not zipfile.is_zipfile(path):
        return  # an old form, without checksums
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.CRC:  # 0 in all of a file that was saved without them
                with archive.open(entry) as content:
                    while content.read(MEGABYTE):
                        pass


def _why_not(error: Exception) -> str:
    text = " ".join(str(error).split())
    if (named := re.search(r"GLOBAL ([\w.]+)", text)) is not None:
        return (
            f"asks for the code `{named[1]}`, which reading it would run: only tensors are read. Save the state dict "
            "alone, or as safetensors"
        )
    reason = type(error).__name__ if "weights_only" in text or not text else brief(text, 160)
    return f"not a readable file of weights ({reason}): damaged or of another form: get it again"


def _state_dict(content: Any) -> dict[str, Tensor] | None:
    if not isinstance(content, Mapping):
        return None
    for entry in get_args(Entry):
        if isinstance(content.get(entry), Mapping) and (inner := _state_dict(content[entry])) is not None:
            return inner
    tensors = {str(name): values for name, values in content.items() if isinstance(values, Tensor)}
    return tensors or None


def _form(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"entries {brief(', '.join(map(str, content)), 100) or 'that are none'}"
    return f"a {type(content).__name__}"


def take_weights(encoder: Encoder, tensors: Mapping[str, Tensor], prefix: str | None, shown: str) -> Taken:
    """Gives an encoder the weights of a file, in its own precision, whatever the file's.

    Statistics of batch norms may be missing: they stay as they are.

    Args:
        prefix: What stands before the encoder's names; None looks for those that are known.
        shown: The file, for messages.

    Raises:
        StudyError: If they do not fit; the message names the first three that differ.
    """
    if prefix is not None and not any(name.startswith(prefix) for name in tensors):
        raise StudyError(
            f"{shown}: weights.prefix is `{brief(prefix)}`, but no name of the file begins with it. They begin with "
            f"{_first(tensors)}: correct prefix, or leave it out"
        )
    own = encoder.state_dict()
    also = {name: encoder.names_in_files(name) for name in own}
    inner, left_over = _without_prefix(tensors, {other for others in also.values() for other in others}, prefix)
    found = {name: next((other for other in others if other in inner), None) for name, others in also.items()}
    used = {other for other in found.values() if other is not None}
    spare = {name: values for name, values in inner.items() if name not in used}
    differ, state, has_statistics = list[str](), dict[str, Tensor](), True
    for name, values in own.items():
        there = found[name]
        if there is None:
            if name.endswith(STATISTICS):
                has_statistics = False
            elif not name.endswith("num_batches_tracked"):
                differ.append(f"`{brief(also[name][-1])}` is missing")
        elif inner[there].shape != values.shape:
            differ.append(f"`{brief(there)}` is {tuple(inner[there].shape)}, not {tuple(values.shape)}")
        elif not _is_plain(inner[there]):
            differ.append(f"`{brief(there)}` is no plain tensor of real numbers")
        else:
            state[name] = inner[there].to(values.dtype)
    behind = [name for name in spare if name.partition(".")[0] in get_args(Head) or encoder.is_behind(name)]
    differ += [f"`{brief(name)}` is no part of the encoder" for name in spare if name not in behind]
    if differ:
        many = f"{len(differ)} names differ, first " if len(differ) > 3 else ""
        first = "" if used else f" The file's names begin with {_first(tensors)}."
        raise StudyError(
            f"{shown}: does not fit encoder `{_name_of(encoder)}`: {many}{'; '.join(differ[:3])}.{first} Set "
            "source.encoder and its options to those of the file, or weights.prefix to what stands before its names"
        )
    if wrong := not_finite(state):
        raise StudyError(f"{shown}: `{wrong[0]}` is not finite: the file is damaged, or its training diverged")
    for name, values in state.items():
        if name.endswith("running_var") and bool((values < 0).any()):
            raise StudyError(f"{shown}: `{name}` is a variance, but negative: the file is damaged: get it again")
    encoder.load_state_dict(own | state)
    return Taken(left_over | {name: spare[name] for name in behind}, has_statistics)


def _is_plain(values: Tensor) -> bool:
    return values.layout is torch.strided and not (values.is_quantized or values.is_complex() or values.is_meta)


def _name_of(encoder: Encoder) -> str:
    return str(getattr(getattr(encoder, "options", None), "name", type(encoder).__name__))


def _without_prefix(
    tensors: Mapping[str, Tensor], wanted: set[str], prefix: str | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What stands behind the prefix, by its name there, and all else."""
    inner, rest = dict(tensors), dict[str, Tensor]()
    prefixes = get_args(Prefix) if prefix is None else (prefix,)
    for _ in prefixes:  # one within another, each once
        if prefix is None and wanted & inner.keys():
            break
        counts = {before: sum(name.startswith(before) for name in inner) for before in prefixes}
        best = max(counts, key=lambda before: counts[before])
        if not counts[best]:
            break
        rest |= {name: values for name, values in inner.items() if not name.startswith(best)}
        inner = {name.removeprefix(best): values for name, values in inner.items() if name.startswith(best)}
    return inner, rest


def _first(names: Iterable[str]) -> str:
    return ", ".join(f"`{brief(name)}`" for name, _ in zip(names, range(3), strict=False))


def classifier_in(left_over: Mapping[str, Tensor], num_features: int) -> tuple[Tensor, Tensor] | None:
    """Weight (K, num_features) and bias (K,) of the one linear layer that reads z; None where it is not one."""
    found = [
        (values, left_over[bias])
        for name, values in left_over.items()
        if values.dim() == 2
        and values.shape[1] == num_features
        and left_over.get(bias := f"{name.removesuffix('.weight')}.bias", values).shape == values.shape[:1]
    ]
    return found[0] if len(found) == 1 else None
