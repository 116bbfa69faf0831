"""Prompts through tiny text encoders, against the pipelines of diffusers themselves."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from encoders import complete
from safetensors.torch import load, save_file
from torch import Tensor

from diffprobe.foundations.errors import CheckpointError
from diffprobe.models import Condition, load_denoiser
from diffprobe.models.families.flux import unpack

NAMES = [
    "stable-diffusion",
    "sdxl",
    "pixart-sigma",
    "sd3",
    "flux",
    "lumina",
    "aura-flow",
]
DIFFUSIONS = NAMES[:3]


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """Complete pipelines with a prompt, and the folders that hold them."""
    torch.manual_seed(0)
    found = {}
    for name in NAMES:
        bare, folder = (tmp_path_factory.mktemp(name) for _ in range(2))
        found[name] = folder, complete(name, bare, folder)
    return found


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("name", NAMES)
def test_the_pipeline_itself_meets_the_same_x0_hat(
    name: str,
    guidance: float,
    pipelines: dict[str, tuple[Path, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every step of the pipeline's own sampling loop, with all that it does to the prompt."""
    folder, pipeline = pipelines[name]
    if name in DIFFUSIONS:
        # Theirs do not say what they take for the clean image; DDIM does, with the same betas.
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    steps: list[tuple[Tensor, Tensor, Tensor]] = []
    theirs = pipeline.scheduler.step

    def step(output: Tensor, t: Tensor, x: Tensor, **options: Any) -> Any:
        steps.append((x, t, output))
        return theirs(output, t, x, **options)

    monkeypatch.setattr(pipeline.scheduler, "step", step)
    # Levels that are on the denoiser's grid of noise levels, and not only near it.
    options: dict[str, Any] = {} if name in DIFFUSIONS else {"sigmas": [1.0, 0.75, 0.25]}
    if name.startswith("pixart"):
        options["use_resolution_binning"] = False
    side = 64 if name == "lumina" else 16  # its pipeline takes every latent for 8×8 pixels
    pipeline(
        "a cat",
        height=side,
        width=side,
        num_inference_steps=3,
        guidance_scale=guidance,
        output_type="latent",
        generator=torch.manual_seed(0),
        **options,
    )
    denoiser = load_denoiser(
        folder, condition=Condition(prompt="a cat", guidance=guidance), size=(16, 16)
    )
    assert len(steps) == 3
    met = []
    for x, timestep, output in steps:
        if name in DIFFUSIONS:
            level = int(timestep)
            x0_hat = theirs(output, timestep, x).pred_original_sample
        else:
            sigma = timestep / 1000
            level = int((denoiser.schedule.sigmas - sigma).abs().argmin())
            assert denoiser.schedule.sigmas[level].item() == pytest.approx(sigma.item(), abs=1e-6)
            x0_hat = x - sigma * output
        if name == "flux":
            x, x0_hat = (unpack(z, 4, 4) for z in (x, x0_hat))
        met.append((x, torch.tensor([level])))
        assert torch.allclose(denoiser(*met[-1]), x0_hat, rtol=1e-3, atol=1e-4)
    other = load_denoiser(
        folder, condition=Condition(prompt="dog", guidance=guidance), size=(16, 16)
    )
    noisiest = met[0]  # at the last level, all but free of noise, no prompt changes much
    assert not torch.allclose(other(*noisiest), denoiser(*noisiest), atol=1e-5)


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
