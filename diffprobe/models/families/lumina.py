"""Lumina-Image 2.0: a flow whose time runs from noise to the image."""

from typing import Any, ClassVar

from torch import Tensor

from diffprobe.models.families.family import FamilyDenoiser, with_negative
from diffprobe.models.foreign import Arguments


class Lumina2Denoiser(FamilyDenoiser):
    """Lumina-Image 2.0 (Qin et al., arXiv:2503.21758).

    It predicts x_0 - eps at time 1 - sigma. Its pipeline keeps, in every row of latents, the norm
    that the prediction had before guidance, and so does this.
    """

    network_class = "Lumina2Transformer2DModel"
    pipelines = ("Lumina2Pipeline",)
    told: ClassVar[dict[str, str]] = {
        "prompt_embeds": "encoder_hidden_states",
        "prompt_attention_mask": "encoder_attention_mask",
    }

    @classmethod
    def widths(cls, config: Any) -> dict[str, int]:
        """Return that of the prompt."""
        return {"prompt_embeds": config.cap_feat_dim}

    @classmethod
    def encode_text(cls, pipeline: Any, prompt: str, negative: bool) -> Arguments:
        """Return what the pipeline makes of a prompt; see `FamilyDenoiser.encode_text`."""
        given, mask, empty, empty_mask = pipeline.encode_prompt(prompt, negative, device="cpu")
        names = {"prompt_embeds": given, "prompt_attention_mask": mask}
        nothing = {"prompt_embeds": empty, "prompt_attention_mask": empty_mask}
        return with_negative(names, nothing if negative else {})

    def _guided(self, prediction: Tensor, empty: Tensor) -> Tensor:
        guided = super()._guided(prediction, empty)
        before, after = (x.norm(dim=-1, keepdim=True) for x in (prediction, guided))
        kept: Tensor = guided * (before / after)
        return kept

    def _call(self, x_t: Tensor, timestep: Tensor, arguments: Arguments) -> Tensor:
        image = 1 - timestep / self.timesteps
        output: Tensor = self.network(x_t, timestep=image, **arguments).sample
        return -output
