"""Small real pipelines of every kind, to be saved to disk and loaded again."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AuraFlowTransformer2DModel,
    AutoencoderKL,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    Lumina2Transformer2DModel,
    PixArtTransformer2DModel,
    PNDMScheduler,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    UNet2DModel,
)
from safetensors.torch import save_file

from diffprobe.models import Condition

BLOCKS = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4}


@dataclass(frozen=True)
class Kind:
    """A pipeline that can be built, and what its network is told."""

    build: Callable[[Path], None]
    condition: Callable[[Path], Condition]
    image_shape: tuple[int, int, int]
    pixel_scale: int = 1


def unet(**options: Any) -> UNet2DModel:
    usual = {"sample_size": 8, "in_channels": 3, "out_channels": 3, "attention_head_dim": 4}
    return UNet2DModel(
        **{**usual, **options},
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        **BLOCKS,
    )


def autoencoder(latent_channels: int, **options: Any) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latent_channels,
        **BLOCKS,
        **options,
    )


def write(folder: Path, pipeline: str, **parts: Any) -> None:
    """Save components and their index: pipelines with a prompt cannot be made without encoders."""
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    index = {name: ["diffusers", type(part).__name__] for name, part in parts.items()}
    content = json.dumps({"_class_name": pipeline, **index})
    (folder / "model_index.json").write_text(content)


def build_pixels(folder: Path) -> None:
    DDPMPipeline(unet(), DDPMScheduler()).save_pretrained(folder)


def build_classes(folder: Path) -> None:
    scheduler = DDIMScheduler(prediction_type="v_prediction")
    DDIMPipeline(unet(num_class_embeds=5), scheduler).save_pretrained(folder)


def build_stable_diffusion(folder: Path) -> None:
    network = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=12,
        attention_head_dim=2,
        **BLOCKS,
    )
    scheduler = PNDMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1
    )
    write(
        folder,
        "StableDiffusionPipeline",
        unet=network,
        vae=autoencoder(4),
        scheduler=scheduler,
    )


def build_sdxl(folder: Path) -> None:
    network = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=12,
        attention_head_dim=2,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 6,
        **BLOCKS,
    )
    scheduler = EulerDiscreteScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1
    )
    write(
        folder,
        "StableDiffusionXLPipeline",
        unet=network,
        vae=autoencoder(4, scaling_factor=0.13025),
        scheduler=scheduler,
    )


def build_pixart(folder: Path, pipeline: str, **options: Any) -> None:
    transformer = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=6,
        num_layers=1,
        sample_size=8,
        cross_attention_dim=12,
        caption_channels=12,
        norm_num_groups=4,
        **options,
    )
    write(
        folder,
        pipeline,
        transformer=transformer,
        vae=autoencoder(4),
        scheduler=DPMSolverMultistepScheduler(),
    )


def build_lumina(folder: Path) -> None:
    transformer = Lumina2Transformer2DModel(
        sample_size=8,
        in_channels=4,
        hidden_size=16,
        num_layers=1,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=8,
        axes_dim_rope=(4, 2, 2),
        axes_lens=(300, 16, 16),
        cap_feat_dim=12,
    )
    write(
        folder,
        "Lumina2Pipeline",
        transformer=transformer,
        vae=autoencoder(4, shift_factor=0.1, scaling_factor=0.4),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
    )


def build_aura_flow(folder: Path) -> None:
    transformer = AuraFlowTransformer2DModel(
        sample_size=8,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        caption_projection_dim=16,
        pos_embed_max_size=64,
    )
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    write(
        folder,
        "AuraFlowPipeline",
        transformer=transformer,
        vae=autoencoder(4),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.73),
    )


def build_dit(folder: Path) -> None:
    transformer = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=4,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        sample_size=8,
        num_embeds_ada_norm=1000,
        norm_num_groups=4,
    )
    # Layers that start at zero would hide the condition.
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    DiTPipeline(transformer, autoencoder(4), DDIMScheduler(clip_sample=False)).save_pretrained(
        folder
    )


def build_sd3(folder: Path) -> None:
    transformer = SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        caption_projection_dim=16,
        pooled_projection_dim=6,
        pos_embed_max_size=8,
    )
    write(
        folder,
        "StableDiffusion3Pipeline",
        transformer=transformer,
        vae=autoencoder(4, shift_factor=0.06, scaling_factor=1.5),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def build_flux(folder: Path) -> None:
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=6,
        guidance_embeds=True,
        axes_dims_rope=(2, 2, 4),
    )
    write(
        folder,
        "FluxPipeline",
        transformer=transformer,
        vae=autoencoder(4, shift_factor=0.1, scaling_factor=0.4),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_image_seq_len=4),
    )


def embeddings(folder: Path, seed: int = 0, tokens: int = 5) -> Path:
    random = torch.Generator().manual_seed(seed)
    path = folder / f"embeddings-{seed}.safetensors"
    tensors = {
        f"{sign}{name}": torch.randn(1, *shape, generator=random)
        for sign in ("", "negative_")
        for name, shape in (("prompt_embeds", (tokens, 12)), ("pooled_prompt_embeds", (6,)))
    }
    # What is beyond the prompt, and beyond no prompt.
    for sign, held in (("", tokens - 2), ("negative_", 1)):
        tensors[f"{sign}prompt_attention_mask"] = (torch.arange(tokens) < held).long()[None]
    save_file(tensors, path)
    return path


KINDS = {
    "pixels": Kind(build_pixels, lambda _: Condition(), (3, 8, 8)),
    "classes": Kind(build_classes, lambda _: Condition(class_label=2), (3, 8, 8)),
    "stable-diffusion": Kind(
        build_stable_diffusion, lambda f: Condition(embeddings=embeddings(f)), (4, 8, 8), 2
    ),
    "dit": Kind(build_dit, lambda _: Condition(class_label=7), (4, 8, 8), 2),
    "sd3": Kind(build_sd3, lambda f: Condition(embeddings=embeddings(f)), (4, 8, 8), 2),
    "sdxl": Kind(build_sdxl, lambda f: Condition(embeddings=embeddings(f)), (4, 8, 8), 2),
    "pixart-alpha": Kind(
        partial(build_pixart, pipeline="PixArtAlphaPipeline", use_additional_conditions=True),
        lambda f: Condition(embeddings=embeddings(f)),
        (4, 8, 8),
        2,
    ),
    "pixart-sigma": Kind(
        partial(build_pixart, pipeline="PixArtSigmaPipeline"),
        lambda f: Condition(embeddings=embeddings(f)),
        (4, 8, 8),
        2,
    ),
    "lumina": Kind(build_lumina, lambda f: Condition(embeddings=embeddings(f)), (4, 8, 8), 2),
    "aura-flow": Kind(build_aura_flow, lambda f: Condition(embeddings=embeddings(f)), (4, 8, 8), 2),
    "flux": Kind(build_flux, lambda f: Condition(embeddings=embeddings(f)), (4, 6, 4), 2),
}
