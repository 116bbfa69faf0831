"""Components of a diffusers folder, loaded one by one.

Nothing is unpickled, nothing is downloaded, and a weight that is missing or left over is an error.
"""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.utils import logging
from safetensors import SafetensorError

from diffprobe.foundations.errors import CheckpointError

# What from_pretrained raises at files that are absent, damaged, or of another model.
LOADING_ERRORS = (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError)


def load_model(folder: Path, classes: Mapping[str, Any]) -> Any:
    """Load the model whose class the folder names.

    Args:
        folder: Holds `config.json` and safetensors weights.
        classes: The classes that may be loaded, by name.

    Raises:
        CheckpointError: If it is of another class, or its weights do not fit key by key.
    """
    name = str(read_config(folder, "config.json").get("_class_name", "model of unknown class"))
    if name not in classes:
        raise CheckpointError(f"{folder} holds a {name}; diffprobe loads {', '.join(classes)}")
    verbosity = logging.get_verbosity()
    try:
        # diffusers fills missing keys with random weights and only warns, at length: look at the
        # report instead.
        logging.set_verbosity_error()
        model, report = classes[name].from_pretrained(
            folder,
            output_loading_info=True,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
        )
    except LOADING_ERRORS as error:
        raise CheckpointError(
            f"the weights in {folder} cannot be loaded: {first_line(error)}"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    check_report(folder, name, report)
    return model


def check_report(
    folder: Path,
    name: str,
    report: Mapping[str, Any],
    kinds: tuple[str, ...] = ("missing_keys", "unexpected_keys", "mismatched_keys"),
) -> None:
    """Raise CheckpointError if a loading report names keys of these kinds."""
    for kind in kinds:
        if keys := report.get(kind):
            shown = ", ".join(str(k) for k in list(keys)[:3]) + (" …" if len(keys) > 3 else "")
            raise CheckpointError(
                f"the weights in {folder} do not fit its {name}: "
                f"{len(keys)} {kind.replace('_', ' ')} ({shown})"
            )


def load_scheduler(folder: Path, *, clip: bool) -> Any:
    """Load the forward process that a folder's scheduler samples from.

    Args:
        folder: Holds `scheduler_config.json`.
        clip: Whether a sampler may clip x0_hat, as the folder says; latents have no bounds.

    Returns:
        A DDPMScheduler with the betas of any diffusion scheduler, or the scheduler of a flow.

    Raises:
        CheckpointError: If the schedule is of another kind.
    """
    config = read_config(folder, "scheduler_config.json")
    name = config.get("_class_name", "DDPMScheduler")
    flow = name == "FlowMatchEulerDiscreteScheduler"
    if not flow and "beta_schedule" not in config:
        raise CheckpointError(
            f"the schedule in {folder} is a {name}; diffprobe takes diffusion schedules given by "
            "betas, and FlowMatchEulerDiscreteScheduler"
        )
    cls = FlowMatchEulerDiscreteScheduler if flow else DDPMScheduler
    known = inspect.signature(cls.__init__).parameters
    config = {key: value for key, value in config.items() if key in known}
    if not flow and not clip:
        config |= {"clip_sample": False, "thresholding": False}
    try:
        return cls.from_config(config)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"the schedule in {folder} cannot be used: {error}") from error


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """Return the settings in a JSON file of a diffusers folder.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    path = folder / name
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} is not a diffusers folder: there is no {name}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is damaged: it holds no settings")
    return content


def first_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else repr(error)
