"""Stable Diffusion 3: a flow, told a prompt and its pooled embedding."""

from typing import Any, ClassVar

from diffprobe.models.families.family import FamilyDenoiser, with_negative
from diffprobe.models.foreign import Arguments


class StableDiffusion3Denoiser(FamilyDenoiser):
    """Stable Diffusion 3 (Esser et al., arXiv:2403.03206)."""

    network_class = "SD3Transformer2DModel"
    pipelines = ("StableDiffusion3Pipeline",)
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
        given, empty, pooled, empty_pooled = pipeline.encode_prompt(
            prompt, None, None, "cpu", do_classifier_free_guidance=negative
        )
        names = {"prompt_embeds": given, "pooled_prompt_embeds": pooled}
        nothing = {"prompt_embeds": empty, "pooled_prompt_embeds": empty_pooled}
        return with_negative(names, nothing if negative else {})
