"""Which device to work on."""

import platform

import torch
from torch import Tensor

from diffprobe.foundations.errors import UsageError

# Of the types of devices, those that have no float64.
SINGLE = frozenset({"mps"})


def resolve_device(device: str) -> torch.device:
    """Return the device of that name; "auto" is the accelerator, if there is one.

    Raises:
        UsageError: If there is no such device here.
    """
    if device == "auto":
        found = (
            torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        )
        return found or torch.device("cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first_line = str(error).splitlines()[0]
        raise UsageError(f"device {device!r} cannot be used: {first_line}") from error
    return chosen


def device_name(device: torch.device) -> str:
    """Return the name a person knows a device by."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine() if device.type == "cpu" else str(device)


def device_of_doubles(device: torch.device) -> torch.device:
    """Return where float64 is computed: on the device, or on the CPU where the device has none.

    >>> device_of_doubles(torch.device("mps"))
    device(type='cpu')
    """
    return torch.device("cpu") if device.type in SINGLE else device


def in_double(values: Tensor) -> Tensor:
    """Return values in float64, on `device_of_doubles`."""
    return values.to(device_of_doubles(values.device)).double()
