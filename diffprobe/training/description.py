"""What config.json says of a run: what it is, with what it was made, and where it came from."""

import importlib.metadata
import platform
from typing import TYPE_CHECKING, Any

from diffprobe import __version__
from diffprobe.config import HORIZON, TRAINED, Config
from diffprobe.foundations.settings import to_settings

if TYPE_CHECKING:
    import torch

    from diffprobe.training.run_folder import Branch


def identity(config: Config, branch: "Branch | None") -> dict[str, Any]:
    """Return what tells one training from another: whatever changes a step."""
    settings = {key: value for key, value in to_settings(config).items() if key in TRAINED}
    training = {k: v for k, v in settings["training"].items() if k not in HORIZON}
    return {
        **settings,
        "training": training,
        "branch": origin(branch) if branch else {"run": None, "step": 0},
    }


def origin(branch: "Branch") -> dict[str, Any]:
    """Return where a branch begins."""
    return {"run": str(branch.run), "step": branch.step}


def description(
    config: Config, device: "torch.device", branch: "Branch | None", replicas: int = 1
) -> dict[str, Any]:
    """Return the settings, versions, device, threads, processes, replicas and seed."""
    import torch

    from diffprobe.foundations.devices import device_name
    from diffprobe.foundations.launch import processes

    libraries = ("torch", "diffusers", "accelerate", "numpy")
    return {
        "config": to_settings(config),
        "branch": origin(branch) if branch else None,
        "versions": {
            "diffprobe": __version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in libraries},
        },
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "processes": processes(),
        "replicas": replicas,
        "seed": config.training.seed,
    }
