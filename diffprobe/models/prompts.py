"""What a prompt says to a network: embeddings, from a file or from the pipeline's text encoders.

The names are those of diffusers: `prompt_embeds (1, tokens, width)`, where the network needs it
`pooled_prompt_embeds (1, width)`, and with `negative_` before them those of no prompt.
"""

from pathlib import Path
from typing import Any

import diffusers
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from diffprobe.foundations.errors import CheckpointError, UsageError, first_line
from diffprobe.models.checkpoint_folder import read_config
from diffprobe.models.components import LOADING_ERRORS, check_report

ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel")
TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast", "T5Tokenizer", "T5TokenizerFast")


def read_embeddings(path: Path) -> dict[str, Tensor]:
    """Read embeddings from a safetensors file; a leading axis of one is added where it is absent.

    Raises:
        UsageError: If the file is missing or is no safetensors file.
    """
    if not path.exists():
        raise UsageError(f"no file of embeddings at {path}")
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"{path} cannot be read as a safetensors file of embeddings: {first_line(error)}"
        ) from error
    axes = {name: 2 if "pooled" in name else 3 for name in tensors}
    return {
        name: tensor[None] if tensor.ndim == axes[name] - 1 else tensor
        for name, tensor in tensors.items()
    }


def encode_prompt(folder: Path, network: Any, prompt: str, *, negative: bool) -> dict[str, Tensor]:
    """Encode a prompt as the pipeline in `folder` would.

    Args:
        folder: A pipeline's, with tokenizers and text encoders.
        network: Its network, which tells the kind of pipeline.
        prompt: What to encode.
        negative: Whether to encode the empty prompt as well.

    Raises:
        UsageError: If transformers is not installed.
        CheckpointError: If the folder holds no text encoders that can be loaded.
    """
    try:
        import transformers
    except ImportError as error:
        raise UsageError(
            "a prompt is encoded by transformers, which is not installed: "
            "pip install 'diffprobe[text]', or give precomputed embeddings (.safetensors)"
        ) from error
    pipeline = _text_pipeline(folder, network, transformers)
    embeddings = _ENCODE[type(network).__name__](pipeline, prompt)
    if negative:
        empty = _ENCODE[type(network).__name__](pipeline, "")
        embeddings |= {f"negative_{name}": tensor for name, tensor in empty.items()}
    return {name: tensor.detach() for name, tensor in embeddings.items()}


def _encode_stable_diffusion(pipeline: Any, prompt: str) -> dict[str, Tensor]:
    embeddings, _ = pipeline.encode_prompt(prompt, "cpu", 1, do_classifier_free_guidance=False)
    return {"prompt_embeds": embeddings}


def _encode_stable_diffusion_3(pipeline: Any, prompt: str) -> dict[str, Tensor]:
    embeddings, _, pooled, _ = pipeline.encode_prompt(
        prompt, None, None, "cpu", do_classifier_free_guidance=False
    )
    return {"prompt_embeds": embeddings, "pooled_prompt_embeds": pooled}


def _encode_flux(pipeline: Any, prompt: str) -> dict[str, Tensor]:
    embeddings, pooled, _ = pipeline.encode_prompt(prompt, device="cpu")
    return {"prompt_embeds": embeddings, "pooled_prompt_embeds": pooled}


_ENCODE = {
    "UNet2DConditionModel": _encode_stable_diffusion,
    "SD3Transformer2DModel": _encode_stable_diffusion_3,
    "FluxTransformer2DModel": _encode_flux,
}
_PIPELINES = {
    "UNet2DConditionModel": ("StableDiffusionPipeline", "unet"),
    "SD3Transformer2DModel": ("StableDiffusion3Pipeline", "transformer"),
    "FluxTransformer2DModel": ("FluxPipeline", "transformer"),
}


def _text_pipeline(folder: Path, network: Any, transformers: Any) -> Any:
    """The pipeline with its text components and its network, and nothing else."""
    class_name, network_name = _PIPELINES[type(network).__name__]
    pipeline_class = getattr(diffusers, class_name)
    index = read_config(folder, "model_index.json")
    parts = dict.fromkeys(pipeline_class._get_signature_keys(pipeline_class)[0])
    parts[network_name] = network
    for name in parts:
        if not name.startswith(("text_encoder", "tokenizer")):
            continue
        _, part_class = index.get(name) or (None, None)
        if part_class is None:
            continue
        if part_class not in (*ENCODERS, *TOKENIZERS):
            raise CheckpointError(
                f"{folder / name} is a {part_class}; diffprobe encodes prompts by "
                f"{', '.join(ENCODERS)}, or takes precomputed embeddings"
            )
        parts[name] = _load_text_part(folder / name, getattr(transformers, part_class))
    if parts.get("text_encoder") is None:
        raise CheckpointError(f"{folder} holds no text encoder: give precomputed embeddings")
    return pipeline_class(**parts)


def _load_text_part(folder: Path, cls: Any) -> Any:
    try:
        if cls.__name__ in TOKENIZERS:
            return cls.from_pretrained(folder, local_files_only=True)
        encoder, report = cls.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except LOADING_ERRORS as error:
        raise CheckpointError(f"{folder} cannot be loaded: {first_line(error)}") from error
    check_report(folder, cls.__name__, report, ("missing_keys", "mismatched_keys"))
    return encoder.eval()
