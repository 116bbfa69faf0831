"""A device without float64, such as MPS, that computes: its tensors hold others on the CPU.

It goes by the name of the meta device, which PyTorch knows everywhere and which has no stream.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from diffprobe.foundations import devices

DEVICE = torch.device("meta")
# What may take tensors of the CPU beside its own.
MIXED = ("copy", "index", "where", "masked_fill")

_tensor, _as_tensor, _get, _set = (
    torch.tensor,
    torch.as_tensor,
    Tensor.__getitem__,
    Tensor.__setitem__,
)


class There(Tensor):
    """A tensor of the device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "There":
        if held.dtype in (torch.float64, torch.complex128):
            raise TypeError("this device has no float64")
        made: There = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:
        return repr(self.held)

    def __format__(self, spec: str) -> str:
        return format(self.held, spec)

    def tolist(self) -> Any:
        return self.held.tolist()

    def new_tensor(self, data: Any, **options: Any) -> Tensor:
        return _tensor(data, **{"dtype": self.dtype, **options}).to(DEVICE)

    # PyTorch itself makes tensors of lists and numbers here, past all that can watch it.
    def __getitem__(self, index: Any) -> Tensor:
        return _get(self, _no_lists(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        if not isinstance(value, Tensor):
            value = _tensor(value, dtype=self.dtype).to(DEVICE)
        _set(self, _no_lists(index), value)


class Device(TorchDispatchMode):
    """While it lasts there is the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: Any) -> Any:
    """Compute on the CPU what is asked of the device, which takes no tensor from elsewhere."""
    flat, form = tree_flatten((args, kwargs))
    there = [a for a in flat if isinstance(a, There)]
    asked = kwargs.get("device")
    here = not there if asked is None else torch.device(asked) != DEVICE
    if there and not any(name in func.__name__ for name in MIXED):
        for a in flat:
            if isinstance(a, Tensor) and not isinstance(a, There) and a.ndim:
                raise RuntimeError(f"{func}: tensors of two devices")
    positional, named = tree_unflatten([_here(a) for a in flat], form)
    found = func(*positional, **named)
    if here:
        return found
    if "copy_" in func.__name__ and not isinstance(args[0], There):
        return args[0]
    own = {id(a.held): a for a in there}

    def back(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return own[id(value)] if id(value) in own else There(value)

    return tree_map(back, found)


def _here(value: Any) -> Any:
    if isinstance(value, There):
        return value.held
    return torch.device("cpu") if isinstance(value, torch.device) else value


def _no_lists(index: Any) -> Any:
    parts = index if isinstance(index, tuple) else (index,)
    return tuple(_tensor(part) if isinstance(part, list) else part for part in parts)


class Generator(torch.Generator):
    """Of the CPU, whatever is asked for."""

    def __new__(cls, device: Any = "cpu") -> "Generator":
        return super().__new__(cls, "cpu")


def tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
    made = _tensor(data, **options)
    return made if device is None else made.to(device)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    made = _as_tensor(data, dtype=dtype)
    return made if device is None else made.to(device)


@pytest.fixture
def single(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """The device, which is one of those without float64; tests enter `Device` themselves."""
    monkeypatch.setattr(devices, "SINGLE", frozenset({DEVICE.type}))
    for name, stand_in in (("tensor", tensor), ("as_tensor", as_tensor), ("Generator", Generator)):
        monkeypatch.setattr(torch, name, stand_in)
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
    assert before is False
    return DEVICE
