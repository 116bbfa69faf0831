"""`diffprobe --version --json`: what a bug report should tell of where it happened."""

import importlib.metadata
import os
import platform
import re
from importlib.metadata import PackageNotFoundError
from typing import Any

from diffprobe import __version__
from diffprobe.foundations.errors import first_line
from diffprobe.foundations.kinds import GROUP


def about() -> dict[str, Any]:
    """Return versions, devices, threads, and the kinds of packages outside, in terms of JSON."""
    return {
        "diffprobe": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        **_torch(),
        "libraries": {name: _version(name) for name in _libraries()},
        "plugins": _plugins(),
    }


def _torch() -> dict[str, Any]:
    """Where it computes; or why it cannot, which a report is perhaps about."""
    try:
        import torch

        cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        mps = ["mps"] if torch.backends.mps.is_available() else []
        return {
            "threads": torch.get_num_threads(),
            "cuda": torch.version.cuda,
            "devices": ["cpu", *cuda, *mps],
        }
    except Exception as error:  # whatever a broken installation raises
        return {"threads": None, "cuda": None, "devices": [], "torch_error": first_line(error)}


def _libraries() -> list[str]:
    """The packages that diffprobe needs, or can use, by what it says of itself."""
    try:
        required = importlib.metadata.requires("diffprobe") or []
    except PackageNotFoundError:  # run from its sources
        required = ["torch", "numpy", "diffusers", "accelerate", "captum"]
    names = [re.match(r"[\w.-]+", line) for line in required if not re.search("extra.*dev", line)]
    return sorted({name[0].lower() for name in names if name} - {"diffprobe"})


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except PackageNotFoundError:
        return None


def _plugins() -> dict[str, list[str]]:
    """Package -> version and kinds that it brings."""
    found: dict[str, list[str]] = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        package = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"
        found.setdefault(package, []).append(point.name)
    return {package: sorted(kinds) for package, kinds in sorted(found.items())}
