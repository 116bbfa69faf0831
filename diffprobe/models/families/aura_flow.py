"""AuraFlow: a flow that reads a prompt's tokens alone."""

from typing import Any, ClassVar

from torch import Tensor

from diffprobe.models.families.family import FamilyDenoiser, with_negative
from diffprobe.models.foreign import Arguments


class AuraFlowDenoiser(FamilyDenoiser):
    """AuraFlow: time goes in as sigma; tokens beyond the prompt are zero, not masked."""

    network_class = "AuraFlowTransformer2DModel"
    pipelines = ("AuraFlowPipeline",)
    told: ClassVar[dict[str, str]] = {"prompt_embeds": "encoder_hidden_states"}

    @classmethod
    def widths(cls, config: Any) -> dict[str, int]:
        """Return that of the prompt."""
        return {"prompt_embeds": config.joint_attention_dim}

    @classmethod
    def encode_text(cls, pipeline: Any, prompt: str, negative: bool) -> Arguments:
        """Return what the pipeline makes of a prompt; see `FamilyDenoiser.encode_text`."""
        given, _, empty, _ = pipeline.encode_prompt(prompt, None, negative, device="cpu")
        return with_negative({"prompt_embeds": given}, {"prompt_embeds": empty} if negative else {})

    def _call(self, x_t: Tensor, timestep: Tensor, arguments: Arguments) -> Tensor:
        sigma = timestep / self.timesteps
        output: Tensor = self.network(x_t, timestep=sigma, **arguments).sample
        return output
