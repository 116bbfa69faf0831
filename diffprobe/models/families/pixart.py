"""PixArt-alpha and PixArt-Sigma: a diffusion transformer that reads a T5's tokens."""

from typing import Any, ClassVar

from torch import Tensor

from diffprobe.models.families.family import FamilyDenoiser, with_negative
from diffprobe.models.foreign import Arguments


class PixArtDenoiser(FamilyDenoiser):
    """PixArt (Chen et al., arXiv:2310.00426 and arXiv:2403.04692).

    The largest alpha is told the image's size and shape, too: those of x_t, in pixels.
    """

    network_class = "PixArtTransformer2DModel"
    pipelines = ("PixArtAlphaPipeline", "PixArtSigmaPipeline")
    told: ClassVar[dict[str, str]] = {
        "prompt_embeds": "encoder_hidden_states",
        "prompt_attention_mask": "encoder_attention_mask",
    }

    @classmethod
    def widths(cls, config: Any) -> dict[str, int]:
        """Return that of the prompt."""
        return {"prompt_embeds": config.caption_channels or config.cross_attention_dim}

    @classmethod
    def encode_text(cls, pipeline: Any, prompt: str, negative: bool) -> Arguments:
        """Return what the pipeline makes of a prompt; see `FamilyDenoiser.encode_text`."""
        given, mask, empty, empty_mask = pipeline.encode_prompt(prompt, negative, device="cpu")
        names = {"prompt_embeds": given, "prompt_attention_mask": mask}
        nothing = {"prompt_embeds": empty, "prompt_attention_mask": empty_mask}
        return with_negative(names, nothing if negative else {})

    def _call(self, x_t: Tensor, timestep: Tensor, arguments: Arguments) -> Tensor:
        added: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if self.network.use_additional_conditions:
            height, width = (self.pixel_scale * side for side in x_t.shape[2:])
            added["resolution"] = x_t.new_tensor([height, width]).expand(len(x_t), 2)
            added["aspect_ratio"] = x_t.new_tensor([height / width]).expand(len(x_t), 1)
        output: Tensor = self.network(
            x_t, timestep=timestep, added_cond_kwargs=added, **arguments
        ).sample
        return output
