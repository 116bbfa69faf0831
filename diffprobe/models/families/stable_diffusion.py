"""Stable Diffusion 1 and 2, and SDXL: one class of network, told more by the larger one."""

from typing import Any, ClassVar

from torch import Tensor

from diffprobe.models.families.family import FamilyDenoiser, with_negative
from diffprobe.models.foreign import Arguments


class StableDiffusionDenoiser(FamilyDenoiser):
    """Stable Diffusion 1 and 2 (Rombach et al., arXiv:2112.10752)."""

    network_class = "UNet2DConditionModel"
    pipelines = ("StableDiffusionPipeline",)
    folder = "unet"
    told: ClassVar[dict[str, str]] = {"prompt_embeds": "encoder_hidden_states"}

    @classmethod
    def unknown_option(cls, config: Any) -> str | None:
        """Return the first setting of other pipelines that have this class of network."""
        options = (
            "addition_embed_type",
            "encoder_hid_dim_type",
            "class_embed_type",
            "num_class_embeds",
            "time_cond_proj_dim",
        )
        given = (name for name in options if config.get(name) is not None)
        return next((name for name in given if not cls._provides(config, name)), None)

    @classmethod
    def _provides(cls, config: Any, option: str) -> bool:
        return False

    @classmethod
    def widths(cls, config: Any) -> dict[str, int]:
        """Return that of the prompt."""
        return {"prompt_embeds": config.cross_attention_dim}

    @classmethod
    def encode_text(cls, pipeline: Any, prompt: str, negative: bool) -> Arguments:
        """Return what the pipeline makes of a prompt; see `FamilyDenoiser.encode_text`."""
        given, empty = pipeline.encode_prompt(prompt, "cpu", 1, negative)
        return with_negative({"prompt_embeds": given}, {"prompt_embeds": empty} if negative else {})


class StableDiffusionXLDenoiser(StableDiffusionDenoiser):
    """SDXL (Podell et al., arXiv:2307.01952, section 2.2): told the image's size and crop, too.

    The size is that of x_t, in pixels, and nothing is cropped, as its pipeline has it.
    """

    pipelines = ("StableDiffusionXLPipeline",)
    told: ClassVar[dict[str, str]] = {
        "prompt_embeds": "encoder_hidden_states",
        "pooled_prompt_embeds": "text_embeds",
    }

    @classmethod
    def matches(cls, config: Any) -> bool:
        """Whether it takes a pooled embedding and numbers that are embedded as times are."""
        return bool(config.get("addition_embed_type") == "text_time")

    @classmethod
    def _provides(cls, config: Any, option: str) -> bool:
        return option == "addition_embed_type"

    @classmethod
    def widths(cls, config: Any) -> dict[str, int]:
        """Return those of the prompt, and of what is left beside the six numbers."""
        numbers = 6 * config.addition_time_embed_dim
        pooled = config.projection_class_embeddings_input_dim - numbers
        return {"prompt_embeds": config.cross_attention_dim, "pooled_prompt_embeds": pooled}

    @classmethod
    def encode_text(cls, pipeline: Any, prompt: str, negative: bool) -> Arguments:
        """Return what the pipeline makes of a prompt; see `FamilyDenoiser.encode_text`."""
        given, empty, pooled, empty_pooled = pipeline.encode_prompt(
            prompt, device="cpu", do_classifier_free_guidance=negative
        )
        names = {"prompt_embeds": given, "pooled_prompt_embeds": pooled}
        nothing = {"prompt_embeds": empty, "pooled_prompt_embeds": empty_pooled}
        return with_negative(names, nothing if negative else {})

    def _call(self, x_t: Tensor, timestep: Tensor, arguments: Arguments) -> Tensor:
        height, width = (self.pixel_scale * side for side in x_t.shape[2:])
        sizes = x_t.new_tensor([height, width, 0, 0, height, width]).expand(len(x_t), 6)
        output: Tensor = self.network(
            x_t,
            timestep=timestep,
            encoder_hidden_states=arguments["encoder_hidden_states"],
            added_cond_kwargs={"text_embeds": arguments["text_embeds"], "time_ids": sizes},
        ).sample
        return output
