"""Networks of other people's pipelines, with their prompt or class held fixed.

    class        UNet2DModel, DiTTransformer2DModel       a label
    prompt       UNet2DConditionModel, PixArt…, Lumina2…  embeddings of the tokens
                 SDXL, SD3Transformer2DModel, Flux…       and one pooled embedding
    guidance     f(x_t, t) = f_empty + guidance (f_conditional - f_empty)
                                              (Ho & Salimans, arXiv:2207.12598, eq. 6)

A network that predicts its variance too gives 2C channels: the first C are the prediction. What
differs from family to family is in `diffprobe.models.families`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffprobe.models.denoiser import NetworkDenoiser


@dataclass(frozen=True)
class Condition:
    """What a conditional network is told, the same for every image.

    Attributes:
        prompt: Text, encoded by the pipeline's text encoders (needs transformers).
        class_label: Index of a class.
        embeddings: A safetensors file of `prompt_embeds` and, where the network takes them,
            `pooled_prompt_embeds` and `prompt_attention_mask`; for guidance also all with
            `negative_` before the name.
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
        network: A diffusers model; it computes in its own precision.
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
        return self._guided(prediction, empty)

    def _guided(self, prediction: Tensor, empty: Tensor) -> Tensor:
        return empty + self.guidance * (prediction - empty)

    def _conditional(self, x_t: Tensor, timestep: Tensor, condition: Arguments) -> Tensor:
        dtype = getattr(self.network, "dtype", x_t.dtype)
        arguments = {
            name: value.to(x_t.device, dtype if value.is_floating_point() else None).expand(
                len(x_t), *value.shape[1:]
            )
            for name, value in condition.items()
        }
        output = self._call(x_t.to(dtype), timestep, arguments).to(x_t.dtype)
        channels = x_t.shape[1]
        return output[:, :channels] if _learns_variance(self.network) else output

    def _call(self, x_t: Tensor, timestep: Tensor, arguments: Arguments) -> Tensor:
        output: Tensor = self.network(x_t, timestep=timestep, **arguments).sample
        return output


def _learns_variance(network: Any) -> bool:
    config = network.config
    return bool(config.get("out_channels", 0) == 2 * config.get("in_channels", 1))
