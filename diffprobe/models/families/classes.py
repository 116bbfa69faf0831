"""Networks that are told a class, or nothing: DDPM, DDIM, DiT."""

from typing import Any

from diffprobe.models.families.family import FamilyDenoiser


class UNetDenoiser(FamilyDenoiser):
    """A U-Net in pixel space, with classes or without."""

    network_class = "UNet2DModel"
    pipelines = ("DDPMPipeline", "DDIMPipeline")
    folder = "unet"

    @classmethod
    def unknown_option(cls, config: Any) -> str | None:
        """Return the kind of its class embedding, if it has one of its own."""
        return "class_embed_type" if config.get("class_embed_type") is not None else None

    @classmethod
    def classes(cls, config: Any) -> tuple[int, int | None]:
        """Return the number of classes; there is none that stands for none of them."""
        return config.num_class_embeds or 0, None


class DiTDenoiser(FamilyDenoiser):
    """DiT (Peebles & Xie, arXiv:2212.09748): latents and classes."""

    network_class = "DiTTransformer2DModel"
    pipelines = ("DiTPipeline",)

    @classmethod
    def classes(cls, config: Any) -> tuple[int, int | None]:
        """Return the number of classes; the embedding after the last one is that of none."""
        return config.num_embeds_ada_norm, config.num_embeds_ada_norm
