"""Hold a foreign network at its condition: what it is told, checked against what it takes."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from diffprobe.foundations.errors import UsageError
from diffprobe.models.families.family import FamilyDenoiser
from diffprobe.models.foreign import Arguments, Condition
from diffprobe.models.latents import LatentSpace
from diffprobe.models.prompts import encode_prompt, read_embeddings


def condition_network(
    network: Any,
    scheduler: Any,
    condition: Condition,
    family: type[FamilyDenoiser],
    pipeline: Any,
    image_shape: tuple[int, int, int] | None,
    latents: LatentSpace | None,
) -> FamilyDenoiser:
    """Return a network of another's pipeline as a denoiser.

    Args:
        network: One of `FOREIGN_NETWORKS`.
        scheduler: A diffusers scheduler.
        condition: What the network is told.
        family: The network's.
        pipeline: With text encoders, where the condition is a prompt.
        image_shape, latents: As for every denoiser.

    Raises:
        UsageError: If the network needs another condition.
    """
    embedded = network.config.get("guidance_embeds")
    guided = condition.guidance > 1 and not embedded
    arguments, empty = _arguments(network, condition, family, pipeline, guided)
    if guided and not arguments:
        raise UsageError(f"{family.network_class} has no condition to be guided by")
    if embedded:
        arguments["guidance"] = torch.tensor([condition.guidance])
    if image_shape is not None and type(scheduler).__name__ == "FlowMatchEulerDiscreteScheduler":
        scheduler = _shift_for_size(scheduler, image_shape, family.cell(network.config))
    return family(
        network,
        scheduler,
        arguments,
        empty if guided else None,
        condition.guidance,
        image_shape=image_shape,
        latents=latents,
    )


def check_condition(network: Any, condition: Condition, family: type[FamilyDenoiser]) -> None:
    """Raise UsageError where a network takes another condition, before anything is encoded."""
    name = family.network_class
    if not condition.guidance >= 1:
        raise UsageError(f"guidance must be at least 1, which is none; not {condition.guidance:g}")
    if family.told:
        if condition.class_label is not None:
            raise UsageError(f"{name} takes a prompt, not a class label")
        if condition.prompt is not None and condition.embeddings is not None:
            raise UsageError("a prompt and precomputed embeddings cannot both be told: give one")
        if condition.prompt is None and condition.embeddings is None:
            raise UsageError(
                f"{name} is conditioned on a prompt: give one, or precomputed embeddings "
                "(.safetensors)"
            )
        return
    if condition.prompt is not None or condition.embeddings is not None:
        raise UsageError(f"{name} takes no prompt")
    classes, null = family.classes(network.config)
    label = condition.class_label
    if classes == 0 and label is not None:
        raise UsageError(f"{name} takes no class label")
    if classes and (label is None or not 0 <= label < classes):
        given = "" if label is None else f", not {label}"
        raise UsageError(
            f"{name} is conditioned on a class: give a class label from 0 to {classes - 1}{given}"
        )
    if classes and condition.guidance > 1 and null is None:
        raise UsageError(f"{name} has no empty class, so that it cannot be guided")


def _arguments(
    network: Any,
    condition: Condition,
    family: type[FamilyDenoiser],
    pipeline: Any,
    guided: bool,
) -> tuple[Arguments, Arguments]:
    """The network's arguments with the condition and without one."""
    if family.told:
        if condition.embeddings is not None:
            embeddings = read_embeddings(condition.embeddings)
        else:
            embeddings = encode_prompt(pipeline, family, condition.prompt or "", negative=guided)
        widths = family.widths(network.config)
        empty = _embeddings(family, embeddings, widths, "negative_") if guided else {}
        return _embeddings(family, embeddings, widths, ""), empty
    if condition.class_label is None:
        return {}, {}
    _, null = family.classes(network.config)
    arguments = {"class_labels": torch.tensor([condition.class_label])}
    return arguments, {} if null is None else {"class_labels": torch.tensor([null])}


def _embeddings(
    family: type[FamilyDenoiser], embeddings: Arguments, widths: Mapping[str, int], prefix: str
) -> Arguments:
    found = {}
    for name, width in widths.items():
        tensor = embeddings.get(prefix + name)
        shape = "(1, width)" if "pooled" in name else "(1, tokens, width)"
        if tensor is None:
            raise UsageError(
                f"{family.network_class} needs {prefix}{name} {shape} among the embeddings; "
                f"there are {', '.join(sorted(embeddings)) or 'none'}"
            )
        axes = 2 if "pooled" in name else 3
        if tensor.ndim != axes or len(tensor) != 1 or tensor.shape[-1] != width:
            raise UsageError(
                f"{prefix}{name} must be {shape} with width {width}; it is {tuple(tensor.shape)}"
            )
        found[family.told[name]] = tensor
    if (argument := family.told.get("prompt_attention_mask")) is not None:
        tokens = found[family.told["prompt_embeds"]].shape[1]
        mask = embeddings.get(f"{prefix}prompt_attention_mask", torch.ones(1, tokens))
        if mask.shape != (1, tokens):
            raise UsageError(
                f"{prefix}prompt_attention_mask must be (1, {tokens}), as many as there are "
                f"tokens; it is {tuple(mask.shape)}"
            )
        found[argument] = mask.long()
    return found


def _shift_for_size(scheduler: Any, image_shape: tuple[int, int, int], cell: int) -> Any:
    """A shift that depends on the number of tokens, as the fixed one it is for this size.

    With mu linear in the number of tokens, exp(mu) / (exp(mu) + 1/s - 1) is a shift by exp(mu)
    (Esser et al., arXiv:2403.03206, eq. 23).
    """
    config = scheduler.config
    if not config.use_dynamic_shifting:
        return scheduler
    tokens = (image_shape[1] // cell) * (image_shape[2] // cell)
    slope = (config.max_shift - config.base_shift) / (
        config.max_image_seq_len - config.base_image_seq_len
    )
    mu = config.base_shift + slope * (tokens - config.base_image_seq_len)
    shift = math.exp(mu) if config.time_shift_type == "exponential" else mu
    return type(scheduler).from_config(config, use_dynamic_shifting=False, shift=shift)
