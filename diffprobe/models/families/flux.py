"""FLUX.1: a flow on tokens of 2×2 latents."""

from typing import Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor

from diffprobe.models.families.family import FamilyDenoiser, with_negative
from diffprobe.models.foreign import Arguments


class FluxDenoiser(FamilyDenoiser):
    """FLUX.1: latents go in as tokens of 2×2, with their positions, and time as sigma."""

    network_class = "FluxTransformer2DModel"
    pipelines = ("FluxPipeline",)
    packed = 2
    usual_size = 128  # its configuration names none; its pipeline takes 128×128 latents
    told: ClassVar[dict[str, str]] = {
        "prompt_embeds": "encoder_hidden_states",
        "pooled_prompt_embeds": "pooled_projections",
    }

    @classmethod
    def widths(cls, config: Any) -> dict[str, int]:
        """Return those of the prompt and of its pooled embedding."""
        return {
            "prompt_embeds": config.joint_attention_dim,
            "pooled_prompt_embeds": config.pooled_projection_dim,
        }

    @classmethod
    def encode_text(cls, pipeline: Any, prompt: str, negative: bool) -> Arguments:
        """Return what the pipeline makes of a prompt; see `FamilyDenoiser.encode_text`."""

        def encoded(text: str) -> Arguments:
            embeddings, pooled, _ = pipeline.encode_prompt(text, device="cpu")
            return {"prompt_embeds": embeddings, "pooled_prompt_embeds": pooled}

        return with_negative(encoded(prompt), encoded("") if negative else {})

    def _call(self, x_t: Tensor, timestep: Tensor, arguments: Arguments) -> Tensor:
        height, width = x_t.shape[2] // 2, x_t.shape[3] // 2
        axes = torch.arange(1), torch.arange(height), torch.arange(width)
        text = arguments["encoder_hidden_states"].shape[1]
        output = self.network(
            pack(x_t),
            timestep=timestep / self.timesteps,
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
