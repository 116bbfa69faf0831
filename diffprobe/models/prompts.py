"""What a prompt says to a network: embeddings, from a file or from the pipeline's text encoders.

The names are those of diffusers: `prompt_embeds (1, tokens, width)`, where the network needs it
`pooled_prompt_embeds (1, width)`, where it takes one `prompt_attention_mask (1, tokens)` (1 is a
token, 0 beyond the prompt), and with `negative_` before them those of no prompt.
"""

from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from diffprobe.foundations.errors import CheckpointError, UsageError, first_line
from diffprobe.models.checkpoint_folder import read_config
from diffprobe.models.components import LOADING_ERRORS, check_report, weights_variant
from diffprobe.models.families.family import FamilyDenoiser

ENCODERS = (
    "CLIPTextModel",
    "CLIPTextModelWithProjection",
    "T5EncoderModel",
    "UMT5EncoderModel",
    "Gemma2Model",
)
TOKENIZERS = (
    "CLIPTokenizer",
    "CLIPTokenizerFast",
    "T5Tokenizer",
    "T5TokenizerFast",
    "LlamaTokenizerFast",
    "GemmaTokenizer",
    "GemmaTokenizerFast",
)


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
    axes = {name: 2 if "pooled" in name or "mask" in name else 3 for name in tensors}
    return {
        name: tensor[None] if tensor.ndim == axes[name] - 1 else tensor
        for name, tensor in tensors.items()
    }


def encode_prompt(
    pipeline: Any, family: type[FamilyDenoiser], prompt: str, *, negative: bool
) -> dict[str, Tensor]:
    """Encode a prompt as a pipeline would.

    Args:
        pipeline: From `assemble`, with text encoders.
        family: Its network's.
        prompt: What to encode.
        negative: Whether to encode the empty prompt as well.
    """
    encoded = family.encode_text(pipeline, prompt, negative)
    return {name: tensor.detach() for name, tensor in encoded.items()}


def assemble(folder: Path, family: type[FamilyDenoiser], network: Any, *, text: bool) -> Any:
    """Return the pipeline of a folder with its network and nothing but what a prompt needs.

    Args:
        folder: A pipeline's, with tokenizers and text encoders.
        family: The network's.
        network: Loaded.
        text: Whether to load the text encoders.

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
    has_index = (folder / "model_index.json").exists()
    index = read_config(folder, "model_index.json") if has_index or text else {}
    name = index.get("_class_name")
    pipeline_class = getattr(diffusers, name if name in family.pipelines else family.pipelines[0])
    required, optional = pipeline_class._get_signature_keys(pipeline_class)
    parts = dict.fromkeys(required)
    parts |= {key: index[key] for key in optional if isinstance(index.get(key), bool)}
    parts[family.folder] = network
    for part in required if text else ():
        if part.startswith(("text_encoder", "tokenizer")):
            parts[part] = _text_part(folder / part, index.get(part), transformers)
    if text and parts.get("text_encoder") is None:
        raise CheckpointError(f"{folder} holds no text encoder: give precomputed embeddings")
    return pipeline_class(**parts)


def _text_part(folder: Path, entry: Any, transformers: Any) -> Any:
    _, name = entry or (None, None)
    if name is None:
        return None
    if name not in (*ENCODERS, *TOKENIZERS):
        raise CheckpointError(
            f"{folder} is a {name}; diffprobe encodes prompts by {', '.join(ENCODERS)}, or takes "
            "precomputed embeddings"
        )
    return _load_text_part(folder, getattr(transformers, name))


def _load_text_part(folder: Path, cls: Any) -> Any:
    try:
        if cls.__name__ in TOKENIZERS:
            return cls.from_pretrained(folder, local_files_only=True)
        encoder, report = cls.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            variant=weights_variant(folder, "model"),
            dtype=torch.float32,
        )
    except LOADING_ERRORS as error:
        raise CheckpointError(f"{folder} cannot be loaded: {first_line(error)}") from error
    check_report(folder, cls.__name__, report, ("missing_keys", "mismatched_keys"))
    return encoder.eval()
