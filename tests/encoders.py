"""Tiny text encoders, and pipelines that are complete with them."""

import json
from pathlib import Path
from typing import Any

import diffusers
import transformers
from pipelines import KINDS

WORDS = ["ca", "cat</w>", "do", "dog</w>", "<|startoftext|>", "<|endoftext|>"]


def clip_tokenizer(folder: Path) -> Any:
    letters = [chr(c) + end for c in range(ord("a"), ord("z") + 1) for end in ("", "</w>")]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys([*letters, *WORDS]))}
    merges = [("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>")]
    tokenizer = transformers.CLIPTokenizer(vocabulary, merges, model_max_length=8)
    tokenizer.save_pretrained(folder)
    return tokenizer


def clip(tokenizer: Any, width: int, cls: str, projection: int | None = None) -> Any:
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        projection_dim=projection or width // 2,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=1,
        max_position_embeddings=8,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return getattr(transformers, cls)(config).eval()


def t5(width: int) -> tuple[Any, Any]:
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁a", -1.0), ("▁cat", -1.0)]
    tokenizer = transformers.T5Tokenizer(vocab=words, extra_ids=0)
    config = transformers.T5Config(
        vocab_size=len(words), d_model=width, d_kv=4, d_ff=8, num_layers=1, num_heads=1
    )
    return tokenizer, transformers.T5EncoderModel(config).eval()


def umt5(width: int) -> tuple[Any, Any]:
    tokenizer, _ = t5(width)
    config = transformers.UMT5Config(
        vocab_size=len(tokenizer), d_model=width, d_kv=4, d_ff=8, num_layers=1, num_heads=1
    )
    return tokenizer, transformers.UMT5EncoderModel(config).eval()


def gemma(width: int) -> tuple[Any, Any]:
    words = ["<pad>", "<eos>", "<bos>", "<unk>", *map(chr, range(32, 127)), "▁"]
    tokenizer = transformers.GemmaTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[])
    config = transformers.Gemma2Config(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
    )
    return tokenizer, transformers.Gemma2Model(config).eval()


def complete(name: str, bare: Path, folder: Path) -> Any:
    """Write a pipeline of `KINDS` with encoders to a folder, and return it."""
    KINDS[name].build(bare)
    index = json.loads((bare / "model_index.json").read_text())
    cls = getattr(diffusers, index["_class_name"])
    parts = {
        part: getattr(diffusers, value[1]).from_pretrained(bare / part)
        for part, value in index.items()
        if part[0] != "_"
    }
    pipeline = cls(**parts, **_text(name, folder / "words"))
    pipeline.save_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _text(name: str, folder: Path) -> dict[str, Any]:
    projected = "CLIPTextModelWithProjection"
    if name.startswith("pixart"):
        return dict(zip(("tokenizer", "text_encoder"), t5(12), strict=True))
    if name == "aura-flow":
        return dict(zip(("tokenizer", "text_encoder"), umt5(12), strict=True))
    if name == "lumina":
        return dict(zip(("tokenizer", "text_encoder"), gemma(12), strict=True))
    tokenizer = clip_tokenizer(folder)
    if name == "stable-diffusion":
        return {
            "tokenizer": tokenizer,
            "text_encoder": clip(tokenizer, 12, "CLIPTextModel"),
            "requires_safety_checker": False,
            "safety_checker": None,
            "feature_extractor": None,
        }
    if name == "sdxl":
        return {
            "tokenizer": tokenizer,
            # Side by side they are 12 wide; the second one's projection is the pooled one, 6 wide.
            "text_encoder": clip(tokenizer, 6, "CLIPTextModel"),
            "tokenizer_2": tokenizer,
            "text_encoder_2": clip(tokenizer, 6, projected, projection=6),
        }
    if name == "sd3":
        return {
            "tokenizer": tokenizer,
            "text_encoder": clip(tokenizer, 6, projected),
            "tokenizer_2": tokenizer,
            "text_encoder_2": clip(tokenizer, 6, projected),
            "tokenizer_3": None,
            "text_encoder_3": None,
        }
    tokenizer_2, text_encoder_2 = t5(12)
    return {
        "tokenizer": tokenizer,
        "text_encoder": clip(tokenizer, 6, "CLIPTextModel"),
        "tokenizer_2": tokenizer_2,
        "text_encoder_2": text_encoder_2,
    }
