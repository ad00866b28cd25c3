"""A GPU that is made up: tensors that say `cuda`, compute on a processor, and mind what a GPU minds.

Values are a processor's. What a GPU would refuse is refused: tensors of both devices in one operation, save single
numbers of the processor's. What it would wait for is told: reading a value, copies that are waited for, and operations
whose result's size depends on values. Kernels, precision and time are a GPU's alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")
GENERATOR = torch.Generator
GROUP = clip_grad._group_tensors_by_device_and_dtype
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal", "bincount", "item")
MOVES = ("_to_copy", "copy_")


class WaitError(Exception):
    """Something waited for the device."""


class MixedError(Exception):
    """Tensors of two devices met in one operation."""


class State:
    """Whether waiting is forbidden, and what was seen of it."""

    forbidden = False
    waited: list[str] = []  # noqa: RUF012


class OnGpu(Tensor):
    """A tensor that says that it lies on a GPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "OnGpu":
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=CPU, requires_grad=False,
        )  # fmt: skip
        made.inner = inner
        return made

    def __repr__(self, **_: Any) -> str:
        return f"OnGpu({self.inner})"

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = func.overloadpacket.__name__
        _check(name, func, args, kwargs)
        target = kwargs.pop("tessera_target", None)
        assert target is None
        inner_args, inner_kwargs = tree_map_only(OnGpu, lambda t: t.inner, (args, kwargs))
        out = func(*inner_args, **inner_kwargs)
        if name == "_local_scalar_dense":
            return out
        out = tree_map_only(Tensor, OnGpu, out)
        return return_and_correct_aliasing(func, args, kwargs, out)


# Where not even a single number may be another device's.
ALL_OF_ONE_DEVICE = ("cat", "stack", "gather", "index_select", "scatter", "scatter_", "scatter_add", "scatter_add_")


def _tell(what: str) -> None:
    State.waited.append(what)
    if State.forbidden:
        raise WaitError(what)


def _check(name: str, func: Any, args: Any, kwargs: Any) -> None:
    if name in WAITS:
        _tell(f"{name} reads values")
    flat = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
    own = [tensor for tensor in flat if not isinstance(tensor, OnGpu)]
    if name == "copy_":
        if own and own[0].ndim:
            _tell("copy_ between devices")
        return
    if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
        asked = [t for t in tree_flatten(args[1])[0] if isinstance(t, Tensor)]
        masked = any(t.dtype in (torch.bool, torch.uint8) for t in asked)
        if masked and (name == "index" or args[2].numel() > 1):  # a single value is filled in without that
            _tell(f"{name} by a mask reads its size")
        if isinstance(args[0], OnGpu):
            if any(t.ndim for t in own):
                _tell(f"{name} copies an index of the processor's")
            return
    if any(type(word) is GENERATOR for word in tree_flatten((args, kwargs))[0]):
        raise MixedError(f"{name}: a generator of the processor's for a tensor of a GPU")
    if wrong := [tuple(tensor.shape) for tensor in own if tensor.ndim or name in ALL_OF_ONE_DEVICE]:
        raise MixedError(f"{name}: tensors of a processor, {wrong}, beside those of a GPU")


READS = {
    Tensor.cpu, Tensor.numpy, Tensor.tolist, Tensor.item, Tensor.__bool__, Tensor.__float__, Tensor.__int__,
    Tensor.__index__,
}  # fmt: skip


class GpuGenerator(torch.Generator):
    """A generator that says that it is a GPU's."""

    def __new__(cls, device: Any = None) -> torch.Generator:  # type: ignore[misc]
        return super().__new__(cls if _is_cuda(device) else GENERATOR, CPU)


FACTORIES = {
    torch.zeros, torch.ones, torch.empty, torch.full, torch.arange, torch.linspace, torch.eye, torch.rand, torch.randn,
    torch.randint, torch.randperm, torch.tensor, torch.as_tensor, torch.scalar_tensor, torch.empty_strided,
}  # fmt: skip


def _is_cuda(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


class PretendedCuda(TorchFunctionMode):
    """Within it, `cuda` is a device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in FACTORIES and _is_cuda(kwargs.get("device")):
            generator = kwargs.get("generator")
            if generator is not None and not isinstance(generator, GpuGenerator):
                raise MixedError(f"{func.__name__}: a generator of the processor's for a tensor of a GPU")
            if func in (torch.tensor, torch.as_tensor):
                _tell("torch.tensor(…, device=cuda) copies and waits")
            kwargs["device"] = CPU
            made = func(*args, **kwargs)
            needs = made.requires_grad
            return OnGpu(made.detach()).requires_grad_(needs)
        if func is Tensor.new_tensor and isinstance(args[0], OnGpu):
            _tell("new_tensor copies and waits")
            return OnGpu(Tensor.new_tensor(args[0].inner, *args[1:], **kwargs))
        if func is F.one_hot and isinstance(args[0], OnGpu):  # makes a tensor below Python, on a processor
            return OnGpu(F.one_hot(args[0].inner, *args[1:], **kwargs))
        if func is Tensor.to:
            return self._to(*args, **kwargs)
        if func in (
            Tensor.cpu,
            Tensor.numpy,
            Tensor.tolist,
            Tensor.item,
            Tensor.__bool__,
            Tensor.__float__,
            Tensor.__int__,
        ):
            (tensor, *others) = args
            if isinstance(tensor, OnGpu):
                if func is Tensor.numpy:
                    raise MixedError("numpy() of a tensor on a GPU")
                _tell(f"{func.__name__} reads values")
                if func is Tensor.cpu:
                    return _move(tensor, CPU)
                return func(_move(tensor.detach(), CPU), *others, **kwargs)
        if func in (Tensor.is_cuda.__get__, Tensor.device.__get__) and isinstance(args[0], OnGpu):
            return CUDA if func is Tensor.device.__get__ else True
        return func(*args, **kwargs)

    @staticmethod
    def _to(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        device, rest = None, []
        non_blocking = bool(kwargs.pop("non_blocking", False))
        for word in args:
            if isinstance(word, (str, torch.device)):
                device = torch.device(word)
            elif isinstance(word, Tensor):
                device = word.device
                rest.append(word.dtype)
            elif isinstance(word, bool):
                non_blocking = non_blocking or word
            elif word is not None:
                rest.append(word)
        if kwargs.get("device") is not None:
            device = torch.device(kwargs["device"])
        kwargs.pop("device", None)
        here = CUDA if isinstance(tensor, OnGpu) else CPU
        if device is not None and device.type != here.type:
            if device.type == "cpu":
                _tell("to(cpu) waits")
            elif not non_blocking and tensor.ndim:
                _tell("to(cuda) waits for its copy")
            tensor = _move(tensor, device)
        return Tensor.to(tensor, *rest, **kwargs) if rest or kwargs else tensor


class _Move(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, device: torch.device) -> Tensor:
        ctx.back = CUDA if isinstance(tensor, OnGpu) else CPU
        inner = tensor.inner.clone() if isinstance(tensor, OnGpu) else tensor.detach().clone()
        return OnGpu(inner) if device.type == "cuda" else inner

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Move.apply(gradient, ctx.back), None


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    moved: Tensor = _Move.apply(tensor, device)
    return moved


def _grouped(lists: list[list[Any]], with_indices: bool = False) -> Any:
    """Tensors by device: PyTorch's own asks below Python, where all lie on a processor."""
    groups = GROUP(lists, with_indices)
    own = all(isinstance(tensor, OnGpu) for tensor in lists[0])
    return {(CUDA if own else device, dtype): found for (device, dtype), found in groups.items()}


@contextmanager
def pretended_cuda() -> Iterator[None]:
    """Within it, `cuda` is a device: made up, and minding what a GPU minds."""
    State.waited.clear()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # type: ignore[no-untyped-call]
    try:
        with PretendedCuda():
            torch.Generator = GpuGenerator  # type: ignore[misc]
            clip_grad._group_tensors_by_device_and_dtype = _grouped
            yield
    finally:
        clip_grad._group_tensors_by_device_and_dtype = GROUP
        torch.Generator = GENERATOR  # type: ignore[misc]
        torch.__future__.set_overwrite_module_params_on_conversion(False)  # type: ignore[no-untyped-call]


@contextmanager
def unread() -> Iterator[None]:
    """Within it, waiting for the device is an error."""
    State.forbidden = True
    try:
        yield
    finally:
        State.forbidden = False
