"""Components of a diffusers folder, loaded one by one.

Nothing is unpickled, nothing is downloaded, and a weight that is missing or left over is an error.
"""

import inspect
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.utils import logging
from safetensors import SafetensorError

from diffprobe.foundations.errors import CheckpointError, first_line
from diffprobe.foundations.settings import shown
from diffprobe.models.checkpoint_folder import read_config
from diffprobe.models.noise_settings import MOST_TIMESTEPS

# What from_pretrained raises at files that are absent, damaged, or of another model.
LOADING_ERRORS = (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError)


def load_model(folder: Path, cls: Any, dtype: torch.dtype = torch.float32) -> Any:
    """Load the model in a folder.

    Args:
        folder: Holds `config.json` and safetensors weights, perhaps only those of a variant such
            as fp16.
        cls: The class that `config.json` names.
        dtype: What it computes in, whatever its weights are stored in.

    Raises:
        CheckpointError: If it is quantised, or its weights do not fit key by key.
    """
    if "quantization_config" in read_config(folder, "config.json"):
        raise CheckpointError(
            f"the weights in {folder} are quantised; diffprobe loads plain ones: save the model "
            "again without quantization_config"
        )
    verbosity = logging.get_verbosity()
    try:
        # diffusers fills missing keys with random weights and only warns, at length: look at the
        # report instead.
        logging.set_verbosity_error()
        model, report = cls.from_pretrained(
            folder,
            output_loading_info=True,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            variant=weights_variant(folder, "diffusion_pytorch_model"),
            torch_dtype=dtype,
        )
    # A damaged config.json reaches any line of the model's constructor.
    except Exception as error:
        raise CheckpointError(
            f"the weights in {folder} cannot be loaded: {first_line(error)}"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    check_report(folder, cls.__name__, report)
    return model


def weights_variant(folder: Path, stem: str) -> str | None:
    """Return the variant that a folder's weights are of: None where the plain ones are there.

    Args:
        folder: Holds `STEM.safetensors` or `STEM.fp16.safetensors`, whole or in shards.
        stem: What its files of weights are called.

    Raises:
        CheckpointError: If there are several variants, and not the plain weights.
    """
    sharded = r"(?:-\d+-of-\d+)?"
    name = re.compile(rf"{stem}(?:\.(\w+))?{sharded}\.safetensors")
    found = {match[1] for path in folder.iterdir() if (match := name.fullmatch(path.name))}
    variants = sorted(found - {None})
    if None in found or not variants:
        return None
    if len(variants) > 1:
        raise CheckpointError(
            f"{folder} holds weights of the variants {' and '.join(variants)}, and no plain ones: "
            "keep one of them"
        )
    return variants[0]


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
    cls: Any = DDPMScheduler
    if flow:
        from diffusers import FlowMatchEulerDiscreteScheduler

        cls = FlowMatchEulerDiscreteScheduler
    known = inspect.signature(cls.__init__).parameters
    config = {key: value for key, value in config.items() if key in known}
    if config.get("variance_type", "") is None:  # of DPM-Solver, which learns none
        del config["variance_type"]
    for key, value in config.items():
        _check_setting(folder, key, value, known[key].default)
    if not flow and not clip:
        config |= {"clip_sample": False, "thresholding": False}
    try:
        made = cls(**config)
    # A damaged configuration reaches any line of the scheduler's constructor.
    except Exception as error:
        reason = first_line(error)
        raise CheckpointError(f"the schedule in {folder} cannot be used: {reason}") from error
    levels = made.sigmas if flow else made.alphas_cumprod
    if levels.ndim != 1 or not len(levels) or not bool(((levels >= 0) & (levels <= 1)).all()):
        raise CheckpointError(f"the schedule in {folder} has noise levels outside [0, 1]")
    return made


def _check_setting(folder: Path, key: str, value: Any, default: Any) -> None:
    """Refuse a value of another type than the default's; schedulers fail at it only when used."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        bool: isinstance(value, bool),
        int: number and float(value).is_integer() and 0 <= value <= MOST_TIMESTEPS,
        float: number and math.isfinite(value),
        str: isinstance(value, str),
    }
    if not fits.get(type(default), True):
        raise CheckpointError(
            f"the schedule in {folder} cannot be used: {key}={shown(value)}, and it is {default!r} "
            "by default"
        )
