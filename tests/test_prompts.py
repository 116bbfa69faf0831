"""Prompts through tiny text encoders, against the pipelines of diffusers themselves."""

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers
from diffusers import (
    DDIMScheduler,
    FluxPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
)
from pipelines import KINDS
from safetensors.torch import load, save_file
from torch import Tensor

from diffprobe.foundations.errors import CheckpointError
from diffprobe.models import Condition, load_denoiser
from diffprobe.models.foreign import unpack

WORDS = ["ca", "cat</w>", "do", "dog</w>", "<|startoftext|>", "<|endoftext|>"]


def clip_tokenizer(folder: Path) -> Any:
    letters = [chr(c) + end for c in range(ord("a"), ord("z") + 1) for end in ("", "</w>")]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys([*letters, *WORDS]))}
    merges = [("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>")]
    tokenizer = transformers.CLIPTokenizer(vocabulary, merges, model_max_length=8)
    tokenizer.save_pretrained(folder)
    return tokenizer


def clip(tokenizer: Any, width: int, cls: str) -> Any:
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        projection_dim=width // 2,
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


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """Complete pipelines with a prompt, and the folders that hold them."""
    torch.manual_seed(0)
    found = {}
    for name in ("stable-diffusion", "sd3", "flux"):
        bare, folder = (tmp_path_factory.mktemp(name) for _ in range(2))
        KINDS[name].build(bare)
        tokenizer = clip_tokenizer(bare / "tokenizer")
        none = {"safety_checker": None, "feature_extractor": None}
        if name == "stable-diffusion":
            text = {
                "tokenizer": tokenizer,
                "text_encoder": clip(tokenizer, 12, "CLIPTextModel"),
                "requires_safety_checker": False,
                **none,
            }
            cls = StableDiffusionPipeline
        elif name == "sd3":
            projected = "CLIPTextModelWithProjection"
            text = {
                "tokenizer": tokenizer,
                "text_encoder": clip(tokenizer, 6, projected),
                "tokenizer_2": tokenizer,
                "text_encoder_2": clip(tokenizer, 6, projected),
                "tokenizer_3": None,
                "text_encoder_3": None,
            }
            cls = StableDiffusion3Pipeline
        else:
            tokenizer_2, text_encoder_2 = t5(12)
            text = {
                "tokenizer": tokenizer,
                "text_encoder": clip(tokenizer, 6, "CLIPTextModel"),
                "tokenizer_2": tokenizer_2,
                "text_encoder_2": text_encoder_2,
            }
            cls = FluxPipeline
        pipeline = cls(**parts_of(bare), **text)
        pipeline.save_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        found[name] = folder, pipeline
    return found


def parts_of(folder: Path) -> dict[str, Any]:
    index = json.loads((folder / "model_index.json").read_text())
    return {
        name: getattr(diffusers, value[1]).from_pretrained(folder / name)
        for name, value in index.items()
        if name[0] != "_"
    }


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("name", ["stable-diffusion", "sd3", "flux"])
def test_the_pipeline_itself_meets_the_same_x0_hat(
    name: str,
    guidance: float,
    pipelines: dict[str, tuple[Path, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every step of the pipeline's own sampling loop, with all that it does to the prompt."""
    folder, pipeline = pipelines[name]
    if name == "stable-diffusion":
        # PNDM does not say what it takes for the clean image; DDIM does, with the same betas.
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    steps: list[tuple[Tensor, Tensor, Tensor]] = []
    theirs = pipeline.scheduler.step

    def step(output: Tensor, t: Tensor, x: Tensor, **options: Any) -> Any:
        steps.append((x, t, output))
        return theirs(output, t, x, **options)

    monkeypatch.setattr(pipeline.scheduler, "step", step)
    # Levels that are on the denoiser's grid of noise levels, and not only near it.
    spacing = {} if name == "stable-diffusion" else {"sigmas": [1.0, 0.75, 0.25]}
    pipeline(
        "a cat",
        height=16,
        width=16,
        num_inference_steps=3,
        guidance_scale=guidance,
        output_type="latent",
        generator=torch.manual_seed(0),
        **spacing,
    )
    denoiser = load_denoiser(
        folder, condition=Condition(prompt="a cat", guidance=guidance), size=(16, 16)
    )
    assert len(steps) == 3
    for x, timestep, output in steps:
        if name == "stable-diffusion":
            level = int(timestep)
            x0_hat = theirs(output, timestep, x).pred_original_sample
        else:
            sigma = timestep / 1000
            level = int((denoiser.schedule.sigmas - sigma).abs().argmin())
            assert denoiser.schedule.sigmas[level].item() == pytest.approx(sigma.item(), abs=1e-6)
            x0_hat = x - sigma * output
        if name == "flux":
            x, x0_hat = (unpack(z, 4, 4) for z in (x, x0_hat))
        found = denoiser(x, torch.tensor([level]))
        assert torch.allclose(found, x0_hat, rtol=1e-3, atol=1e-4)
    other = load_denoiser(
        folder, condition=Condition(prompt="dog", guidance=guidance), size=(16, 16)
    )
    assert not torch.allclose(other(x, torch.tensor([level])), found, atol=1e-5)


def test_encoders_that_cannot_be_read_are_refused(
    pipelines: dict[str, tuple[Path, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "theirs"
    shutil.copytree(pipelines["stable-diffusion"][0], folder)
    cat = Condition(prompt="a cat")
    index = folder / "model_index.json"
    original = index.read_text()
    for change, message in (
        ({"text_encoder": ["their_code", "Encoder"]}, "text_encoder is a Encoder; .*CLIPTextModel"),
        ({"text_encoder": [None, None]}, "holds no text encoder: give precomputed embeddings"),
    ):
        index.write_text(json.dumps(json.loads(original) | change))
        with pytest.raises(CheckpointError, match=message):
            load_denoiser(folder, condition=cat)
    index.write_text(original)
    file = folder / "text_encoder" / "model.safetensors"
    tensors = load(file.read_bytes())  # load_file may map the file, which is overwritten
    name = next(n for n in tensors if "token_embedding" in n)
    save_file({n: t for n, t in tensors.items() if n != name}, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match="1 missing keys"):
        load_denoiser(folder, condition=cat)
    torch.save(tensors, file.with_name("pytorch_model.bin"))
    file.unlink()
    with pytest.raises(CheckpointError, match="text_encoder cannot be loaded"):
        load_denoiser(folder, condition=cat)
