"""Networks of other people's pipelines, with their prompt or class held fixed.

    class        UNet2DModel, DiTTransformer2DModel       a label
    prompt       UNet2DConditionModel                     embeddings of the tokens
                 SD3Transformer2DModel, Flux…             and one pooled embedding
    guidance     f(x_t, t) = f_empty + guidance (f_conditional - f_empty)
                                              (Ho & Salimans, arXiv:2207.12598, eq. 6)

A network that predicts its variance too gives 2C channels: the first C are the prediction.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from diffprobe.foundations.errors import CheckpointError, UsageError
from diffprobe.models.denoiser import NetworkDenoiser
from diffprobe.models.latents import LatentSpace
from diffprobe.models.prompts import encode_prompt, read_embeddings

# By name, so that only the class that is loaded need be imported.
FOREIGN_NETWORKS = (
    "UNet2DModel",
    "UNet2DConditionModel",
    "DiTTransformer2DModel",
    "Transformer2DModel",
    "SD3Transformer2DModel",
    "FluxTransformer2DModel",
)
PIPELINES = (
    "DDPMPipeline",
    "DDIMPipeline",
    "StableDiffusionPipeline",
    "DiTPipeline",
    "StableDiffusion3Pipeline",
    "FluxPipeline",
)


@dataclass(frozen=True)
class Condition:
    """What a conditional network is told, the same for every image.

    Attributes:
        prompt: Text, encoded by the pipeline's text encoders (needs transformers).
        class_label: Index of a class.
        embeddings: A safetensors file of `prompt_embeds` and, where the network takes them,
            `pooled_prompt_embeds`; for guidance also both with `negative_` before the name.
        guidance: Scale of classifier-free guidance, at least 1, which is none. A network with
            embedded guidance (FLUX.1-dev) is told the scale instead.
    """

    prompt: str | None = None
    class_label: int | None = None
    embeddings: Path | None = None
    guidance: float = 1.0


Arguments = dict[str, Tensor]  # of a network's call, each (1, ...)


class ConditionedDenoiser(NetworkDenoiser):
    """A network whose condition is held fixed.

    Args:
        network: A diffusers model.
        scheduler: A diffusers scheduler.
        condition: Arguments of the network besides x_t and t, each (1, ...).
        empty: The same without a condition, for guidance.
        guidance: Its scale.
        image_shape, latents: As for every denoiser.
    """

    guidance: Tensor

    def __init__(
        self,
        network: nn.Module,
        scheduler: Any,
        condition: Arguments,
        empty: Arguments | None = None,
        guidance: float = 1.0,
        **space: Any,
    ) -> None:
        super().__init__(network, scheduler, **space)
        # As buffers they go where the network goes, and belong to what tells two denoisers apart.
        self.names = {"condition": list(condition), "empty": None if empty is None else list(empty)}
        for kind, arguments in (("condition", condition), ("empty", empty or {})):
            for name, value in arguments.items():
                self.register_buffer(f"{kind}_{name}", value)
        self.register_buffer("guidance", torch.tensor(guidance))

    @property
    def condition(self) -> Arguments:
        """What the network is told besides x_t and t, each (1, ...)."""
        return self._held("condition") or {}

    @property
    def empty(self) -> Arguments | None:
        """The same without a condition, where there is guidance."""
        return self._held("empty")

    def with_condition(self, **arguments: Tensor) -> "ConditionedDenoiser":
        """Return the same network with other arguments than its own, (B, ...) of each image."""
        return type(self)(
            self.network,
            self.scheduler,
            {**self.condition, **arguments},
            self.empty,
            float(self.guidance),
            image_shape=self._image_shape,
            latents=self.latents,
        )

    def _held(self, kind: str) -> Arguments | None:
        names = self.names[kind]
        return None if names is None else {n: getattr(self, f"{kind}_{n}") for n in names}

    def predict(self, x_t: Tensor, timestep: Tensor) -> Tensor:
        """Return what the network predicts; see `PredictionDenoiser.predict`."""
        prediction = self._conditional(x_t, timestep, self.condition)
        if self.empty is None:
            return prediction
        empty = self._conditional(x_t, timestep, self.empty)
        return empty + self.guidance * (prediction - empty)

    def _conditional(self, x_t: Tensor, timestep: Tensor, condition: Arguments) -> Tensor:
        arguments = {
            name: value.to(x_t.device, x_t.dtype if value.is_floating_point() else None).expand(
                len(x_t), *value.shape[1:]
            )
            for name, value in condition.items()
        }
        output = self._call(x_t, timestep, arguments)
        channels = x_t.shape[1]
        return output[:, :channels] if _learns_variance(self.network) else output

    def _call(self, x_t: Tensor, timestep: Tensor, arguments: Arguments) -> Tensor:
        output: Tensor = self.network(x_t, timestep=timestep, **arguments).sample
        return output


class FluxDenoiser(ConditionedDenoiser):
    """FLUX.1: latents go in as tokens of 2×2, with their positions, and time as sigma."""

    def _call(self, x_t: Tensor, timestep: Tensor, arguments: Arguments) -> Tensor:
        height, width = x_t.shape[2] // 2, x_t.shape[3] // 2
        axes = torch.arange(1), torch.arange(height), torch.arange(width)
        text = arguments["encoder_hidden_states"].shape[1]
        output = self.network(
            pack(x_t),
            timestep=timestep / 1000,
            img_ids=torch.cartesian_prod(*axes).to(x_t),
            txt_ids=torch.zeros(text, 3).to(x_t),
            **arguments,
        ).sample
        return unpack(output, height, width)


def pack(latents: Tensor) -> Tensor:
    """Return latents (B, C, 2h, 2w) as tokens (B, h w, 4C)."""
    return rearrange(latents, "b c (h i) (w j) -> b (h w) (c i j)", i=2, j=2)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """Return the latents (B, C, 2 height, 2 width) of tokens (B, height width, 4C)."""
    return rearrange(tokens, "b (h w) (c i j) -> b c (h i) (w j)", h=height, w=width, i=2, j=2)


def condition_network(
    network: Any,
    scheduler: Any,
    condition: Condition,
    folder: Path,
    image_shape: tuple[int, int, int] | None,
    latents: LatentSpace | None,
) -> NetworkDenoiser:
    """Return a network of another's pipeline as a denoiser.

    Args:
        network: One of `FOREIGN_NETWORKS`.
        scheduler: A diffusers scheduler.
        condition: What the network is told.
        folder: The pipeline's, for its text encoders.
        image_shape, latents: As for every denoiser.

    Raises:
        UsageError: If the network needs another condition.
        CheckpointError: If it is of a kind that needs what nothing here provides.
    """
    _check_kind(network)
    guided = condition.guidance > 1 and not network.config.get("guidance_embeds")
    if not condition.guidance >= 1:
        raise UsageError(f"guidance must be at least 1, which is none; not {condition.guidance:g}")
    arguments, empty = _arguments(network, condition, folder, guided)
    if guided and not arguments:
        raise UsageError(f"{_name(network)} has no condition to be guided by")
    if network.config.get("guidance_embeds"):
        arguments["guidance"] = torch.tensor([condition.guidance])
    if image_shape is not None and _name(scheduler) == "FlowMatchEulerDiscreteScheduler":
        scheduler = _shift_for_size(scheduler, image_shape, network)
    cls = FluxDenoiser if _name(network) == "FluxTransformer2DModel" else ConditionedDenoiser
    return cls(
        network,
        scheduler,
        arguments,
        empty if guided else None,
        condition.guidance,
        image_shape=image_shape,
        latents=latents,
    )


def _arguments(
    network: Any, condition: Condition, folder: Path, guided: bool
) -> tuple[Arguments, Arguments]:
    """The network's arguments with the condition and without one."""
    if widths := _embedding_widths(network):
        if condition.class_label is not None:
            raise UsageError(f"{_name(network)} takes a prompt, not a class label")
        if (condition.prompt is None) == (condition.embeddings is None):
            raise UsageError(
                f"{_name(network)} is conditioned on a prompt: give one, or precomputed "
                "embeddings (.safetensors)"
            )
        if condition.embeddings is not None:
            embeddings = read_embeddings(condition.embeddings)
        else:
            embeddings = encode_prompt(folder, network, condition.prompt or "", negative=guided)
        empty = _check_embeddings(network, embeddings, widths, "negative_") if guided else {}
        return _check_embeddings(network, embeddings, widths, ""), empty
    if condition.prompt is not None or condition.embeddings is not None:
        raise UsageError(f"{_name(network)} takes no prompt")
    classes, null = _classes(network)
    label = condition.class_label
    if classes == 0:
        if label is not None:
            raise UsageError(f"{_name(network)} takes no class label")
        return {}, {}
    if label is None or not 0 <= label < classes:
        given = "" if label is None else f", not {label}"
        raise UsageError(
            f"{_name(network)} is conditioned on a class: "
            f"give a class label from 0 to {classes - 1}{given}"
        )
    if guided and null is None:
        raise UsageError(f"{_name(network)} has no empty class, so that it cannot be guided")
    arguments = {"class_labels": torch.tensor([label])}
    return arguments, {} if null is None else {"class_labels": torch.tensor([null])}


def _check_embeddings(
    network: Any, embeddings: Arguments, widths: Mapping[str, int], prefix: str
) -> Arguments:
    found = {}
    for name, width in widths.items():
        tensor = embeddings.get(prefix + name)
        shape = "(1, width)" if "pooled" in name else "(1, tokens, width)"
        if tensor is None:
            raise UsageError(
                f"{_name(network)} needs {prefix}{name} {shape} among the embeddings; "
                f"there are {', '.join(sorted(embeddings)) or 'none'}"
            )
        axes = 2 if "pooled" in name else 3
        if tensor.ndim != axes or len(tensor) != 1 or tensor.shape[-1] != width:
            raise UsageError(
                f"{prefix}{name} must be {shape} with width {width}; it is {tuple(tensor.shape)}"
            )
        found[_ARGUMENT_OF[name]] = tensor
    return found


_ARGUMENT_OF = {
    "prompt_embeds": "encoder_hidden_states",
    "pooled_prompt_embeds": "pooled_projections",
}


def _embedding_widths(network: Any) -> dict[str, int]:
    """The embeddings of a prompt that a network takes; none if it takes no prompt."""
    config = network.config
    if _name(network) == "UNet2DConditionModel":
        return {"prompt_embeds": config.cross_attention_dim}
    if _name(network) in ("SD3Transformer2DModel", "FluxTransformer2DModel"):
        return {
            "prompt_embeds": config.joint_attention_dim,
            "pooled_prompt_embeds": config.pooled_projection_dim,
        }
    return {}


def _classes(network: Any) -> tuple[int, int | None]:
    """Number of classes, and the index that stands for none of them."""
    if _name(network) == "DiTTransformer2DModel":
        return network.config.num_embeds_ada_norm, network.config.num_embeds_ada_norm
    return network.config.num_class_embeds or 0, None


def _check_kind(network: Any) -> None:
    config = network.config
    options = [
        name
        for name in ("addition_embed_type", "encoder_hid_dim_type", "class_embed_type")
        if config.get(name) is not None
    ]
    if _name(network) == "UNet2DConditionModel" and config.num_class_embeds is not None:
        options.append("num_class_embeds")
    if options or _name(network) not in FOREIGN_NETWORKS:
        detail = f" with {options[0]}={config[options[0]]!r}" if options else ""
        raise CheckpointError(
            f"a {_name(network)}{detail} is not supported; diffprobe loads the networks of "
            f"{', '.join(PIPELINES)}"
        )


def _learns_variance(network: Any) -> bool:
    config = network.config
    return bool(config.get("out_channels", 0) == 2 * config.get("in_channels", 1))


def _shift_for_size(scheduler: Any, image_shape: tuple[int, int, int], network: Any) -> Any:
    """A shift that depends on the number of tokens, as the fixed one it is for this size.

    With mu linear in the number of tokens, exp(mu) / (exp(mu) + 1/s - 1) is a shift by exp(mu)
    (Esser et al., arXiv:2403.03206, eq. 23).
    """
    config = scheduler.config
    if not config.use_dynamic_shifting:
        return scheduler
    patch = 2 if _name(network) == "FluxTransformer2DModel" else network.config.patch_size
    tokens = (image_shape[1] // patch) * (image_shape[2] // patch)
    slope = (config.max_shift - config.base_shift) / (
        config.max_image_seq_len - config.base_image_seq_len
    )
    mu = config.base_shift + slope * (tokens - config.base_image_seq_len)
    shift = math.exp(mu) if config.time_shift_type == "exponential" else mu
    return type(scheduler).from_config(config, use_dynamic_shifting=False, shift=shift)


def _name(network: Any) -> str:
    return type(network).__name__
