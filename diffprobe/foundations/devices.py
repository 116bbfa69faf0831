"""Which device to work on."""

import platform

import torch

from diffprobe.foundations.errors import UsageError


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
