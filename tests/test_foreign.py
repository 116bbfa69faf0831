"""Other people's pipelines: small real ones of every kind, saved to disk and loaded again."""

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiTPipeline,
    FlowMatchEulerDiscreteScheduler,
    UNet2DConditionModel,
)
from pipelines import BLOCKS, KINDS, embeddings, unet
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from diffprobe.cli import run
from diffprobe.config import SamplingConfig
from diffprobe.foundations.errors import CheckpointError, DiffprobeError, UsageError
from diffprobe.foundations.seeding import generator
from diffprobe.models import Condition, find_checkpoint, load_denoiser, noise_scheduler
from diffprobe.models.families.flux import pack, unpack
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.sampling import sample
from diffprobe.sampling.samplers.ddim import DDIMConfig
from diffprobe.sampling.samplers.ddpm import DDPMConfig

DIFFUSIONS = [
    "pixels",
    "classes",
    "stable-diffusion",
    "sdxl",
    "dit",
    "pixart-alpha",
    "pixart-sigma",
]
FLOWS = ["sd3", "flux", "lumina", "aura-flow"]
PROMPTED = ["stable-diffusion", "sdxl", "pixart-alpha", "pixart-sigma", *FLOWS]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a path must never become a download")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A pipeline of every kind; tests must not change them."""
    torch.manual_seed(0)
    found = {}
    for name, kind in KINDS.items():
        found[name] = tmp_path_factory.mktemp(name)
        kind.build(found[name])
    return found


def load(folders: dict[str, Path], name: str, **options: Any) -> Any:
    kind = KINDS[name]
    if name == "flux":
        options = {"size": (12, 8), **options}
    condition = options.pop("condition", kind.condition(folders[name]))
    return load_denoiser(folders[name], "", "cpu", condition, **options)


def inputs(name: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(3, *KINDS[name].image_shape, generator=random), torch.tensor([5, 400, 990])


@pytest.mark.parametrize("name", KINDS)
def test_the_space_is_known(name: str, folders: dict[str, Path]) -> None:
    denoiser, kind = load(folders, name), KINDS[name]
    assert denoiser.image_shape == kind.image_shape
    assert denoiser.pixel_scale == kind.pixel_scale
    assert denoiser.space == ("pixels" if kind.pixel_scale == 1 else "latents")
    assert not denoiser.training
    assert not any(p.requires_grad for p in denoiser.parameters())
    pixels = [s * kind.pixel_scale for s in kind.image_shape[1:]]
    images = torch.rand(9, 3, *pixels, generator=torch.Generator().manual_seed(1)) * 2 - 1
    encoded = denoiser.encode(images)
    assert encoded.shape == (9, *kind.image_shape)
    if denoiser.space == "pixels":
        assert encoded is images
        return
    vae = AutoencoderKL.from_pretrained(folders[name] / "vae").eval()
    with torch.no_grad():
        mean = vae.encode(images).latent_dist.mean
        decoded = vae.decode(mean).sample
        shift = vae.config.shift_factor or 0
        # As the pipelines undo it before they decode.
        ours = vae.decode(encoded / vae.config.scaling_factor + shift).sample
    assert torch.allclose(ours, decoded, atol=1e-5)
    with pytest.raises(UsageError, match=r"takes images \(B, 3, H, W\)"):
        denoiser.encode(images[:, :1])
    with pytest.raises(UsageError, match="a latent cell is 2×2 pixels"):
        denoiser.encode(images[..., :-1])


@pytest.mark.parametrize("name", DIFFUSIONS)
def test_x0_hat_is_the_one_the_pipelines_scheduler_computes(
    name: str, folders: dict[str, Path]
) -> None:
    denoiser = load(folders, name)
    x_t, t = inputs(name)
    text, pooled, mask = (
        read(folders[name], each)
        for each in ("prompt_embeds", "pooled_prompt_embeds", "prompt_attention_mask")
    )
    # The images are of 16×16 pixels.
    sizes = torch.tensor([[16.0, 16, 0, 0, 16, 16]])
    shape = {"resolution": torch.tensor([[16.0, 16]]), "aspect_ratio": torch.ones(1, 1)}
    pixart = {"encoder_hidden_states": text, "encoder_attention_mask": mask}
    arguments = {
        "pixels": {},
        "classes": {"class_labels": torch.tensor([2])},
        "dit": {"class_labels": torch.tensor([7])},
        "stable-diffusion": {"encoder_hidden_states": text},
        "sdxl": {
            "encoder_hidden_states": text,
            "added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes},
        },
        "pixart-alpha": {**pixart, "added_cond_kwargs": shape},
        "pixart-sigma": pixart,
    }[name]
    transformer = folders[name] / "transformer"
    part = transformer if transformer.exists() else folders[name] / "unet"
    network = getattr(diffusers, type(denoiser.network).__name__).from_pretrained(part).eval()
    scheduler = DDIMScheduler.from_pretrained(folders[name] / "scheduler", clip_sample=False)
    scheduler.set_timesteps(1000)
    for i in range(3):
        with torch.no_grad():
            output = network(x_t[i : i + 1], timestep=t[i : i + 1], **arguments).sample
        output = output[:, : x_t.shape[1]]
        theirs = scheduler.step(output, t[i], x_t[i : i + 1]).pred_original_sample
        assert torch.allclose(denoiser(x_t, t)[i : i + 1], theirs, rtol=1e-4, atol=1e-4)


def read(folder: Path, name: str) -> Tensor:
    return load_file(embeddings(folder))[name]


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("pixels", {"batch_size": 2}),
        ("dit", {"class_labels": [7, 7], "guidance_scale": 1.0}),
        ("dit", {"class_labels": [7, 7], "guidance_scale": 3.0}),
    ],
)
def test_the_pipeline_itself_meets_the_same_x0_hat(
    name: str, call: dict[str, Any], folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step of the pipeline's own sampling loop, with all that it does to the network."""
    pipeline = (DiTPipeline if name == "dit" else DDPMPipeline).from_pretrained(folders[name])
    pipeline.set_progress_bar_config(disable=True)
    # The pipeline samples by DDIM, which says what it took for the clean image.
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    steps: list[tuple[Tensor, int, Tensor]] = []
    theirs = pipeline.scheduler.step

    def step(output: Tensor, t: Tensor, x: Tensor, **options: Any) -> Any:
        result = theirs(output, t, x, **options)
        steps.append((x[:2], int(t), result.pred_original_sample[:2]))
        return result

    monkeypatch.setattr(pipeline.scheduler, "step", step)
    pipeline(num_inference_steps=3, output_type="np", generator=torch.manual_seed(0), **call)
    condition = KINDS[name].condition(folders[name])
    if "guidance_scale" in call:
        condition = Condition(class_label=7, guidance=call["guidance_scale"])
    denoiser = load(folders, name, condition=condition)
    assert len(steps) == 3
    for x_t, t, x0_hat in steps:
        assert torch.allclose(denoiser(x_t, torch.full((2,), t)), x0_hat, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FLOWS)
def test_x0_hat_of_a_flow_is_the_end_of_its_straight_line(
    name: str, folders: dict[str, Path]
) -> None:
    """One Euler step of diffusers from any sigma to 0 gives x0_hat."""
    denoiser = load(folders, name)
    x_t, t = inputs(name)
    part = folders[name] / "transformer"
    cls = getattr(diffusers, type(denoiser.network).__name__)
    network = cls.from_pretrained(part).eval()
    text = read(folders[name], "prompt_embeds")
    pooled = read(folders[name], "pooled_prompt_embeds")
    mask = read(folders[name], "prompt_attention_mask")
    for i in range(3):
        x = x_t[i : i + 1]
        scheduler = FlowMatchEulerDiscreteScheduler()
        scheduler.set_timesteps(sigmas=[denoiser.schedule.sigmas[t[i]].item()])
        timestep = scheduler.timesteps[:1]
        with torch.no_grad():
            if name == "sd3":
                v = network(x, text, pooled, timestep).sample
            elif name == "lumina":
                v = -network(x, 1 - timestep / 1000, text, mask).sample
            elif name == "aura-flow":
                v = network(x, text, timestep / 1000).sample
            else:
                tokens, positions = by_hand(x)
                v = network(
                    tokens,
                    text,
                    pooled,
                    timestep / 1000,
                    positions,
                    torch.zeros(5, 3),
                    guidance=torch.ones(1),
                ).sample
                v = back_by_hand(v, *x.shape[2:])
        theirs = scheduler.step(v, timestep[0], x).prev_sample
        assert torch.allclose(denoiser(x_t, t)[i : i + 1], theirs, atol=1e-5)


def by_hand(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens of 2×2 latents, channel first in each, and their places (0, row, column)."""
    tokens, places = [], []
    for row in range(latents.shape[2] // 2):
        for column in range(latents.shape[3] // 2):
            patch = latents[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            tokens.append(patch.flatten(1))
            places.append([0.0, row, column])
    return torch.stack(tokens, 1), torch.tensor(places)


def back_by_hand(tokens: Tensor, height: int, width: int) -> Tensor:
    latents = torch.zeros(len(tokens), tokens.shape[2] // 4, height, width)
    for index in range(tokens.shape[1]):
        row, column = divmod(index, width // 2)
        patch = tokens[:, index].reshape(len(tokens), -1, 2, 2)
        latents[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = patch
    return latents


def test_packing_is_undone() -> None:
    latents = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    tokens = pack(latents)
    assert tokens.shape == (2, 6, 12)
    assert torch.equal(tokens, by_hand(latents)[0])
    assert torch.equal(unpack(tokens, 2, 3), latents)


@pytest.mark.parametrize("name", ["classes", "dit", *PROMPTED])
def test_the_condition_is_the_same_for_every_image(name: str, folders: dict[str, Path]) -> None:
    denoiser = load(folders, name)
    x_t, t = inputs(name)
    together = denoiser(x_t, t)
    for i in range(3):
        alone = denoiser(x_t[i : i + 1], t[i : i + 1])
        assert torch.allclose(together[i : i + 1], alone, atol=1e-4)
    condition = (
        Condition(class_label=3)
        if denoiser.condition.keys() == {"class_labels"}
        else Condition(embeddings=embeddings(folders[name], seed=1))
    )
    other = load(folders, name, condition=condition)(x_t, t)
    assert (other - together).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["stable-diffusion", "sdxl", "pixart-sigma", "dit", "sd3"])
def test_guidance_extrapolates_from_the_empty_condition(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    x_t, t = inputs(name)
    if name == "dit":
        conditional, guided = Condition(class_label=7), Condition(class_label=7, guidance=4.0)
        # The embedding of no class is the row after the last class: make it one.
        network = load(folders, name).network
        table = network.transformer_blocks[0].norm1.emb.class_embedder.embedding_table
        empty = load(folders, name)
        other = empty.network.transformer_blocks[0].norm1.emb.class_embedder.embedding_table
        with torch.no_grad():
            other.weight[7] = table.weight[1000]
    else:
        path = embeddings(folders[name])
        tensors = load_file(path)
        swapped = tmp_path / "empty.safetensors"
        save_file({k: tensors[f"negative_{k}"] for k in tensors if k[:3] != "neg"}, swapped)
        conditional = Condition(embeddings=path)
        guided = Condition(embeddings=path, guidance=4.0)
        empty = load(folders, name, condition=Condition(embeddings=swapped))
    # x0_hat is linear in the prediction, so that guidance of one is guidance of the other.
    plain = load(folders, name, condition=conditional)(x_t, t)
    expected = empty(x_t, t) + 4 * (plain - empty(x_t, t))
    found = load(folders, name, condition=guided)(x_t, t)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert (found - plain).abs().max() > 1e-3


def test_luminas_guidance_keeps_the_norm_of_every_row(folders: dict[str, Path]) -> None:
    x_t, t = inputs("lumina")
    path = embeddings(folders["lumina"])
    denoiser = load(folders, "lumina", condition=Condition(embeddings=path, guidance=4.0))
    timestep = denoiser.schedule.timestep(t)
    given, empty = (
        denoiser._conditional(x_t, timestep, c) for c in (denoiser.condition, denoiser.empty)
    )
    plain = empty + 4 * (given - empty)
    for i in range(3):
        for channel in range(4):
            for row in range(8):
                at = i, channel, row
                expected = plain[at] * given[at].norm() / plain[at].norm()
                assert torch.allclose(denoiser.predict(x_t, timestep)[at], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["pixart-sigma", "lumina"])
def test_what_is_beyond_the_prompt_is_not_read(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    x_t, t = inputs(name)
    tensors = load_file(embeddings(folders[name]))
    beyond = tensors["prompt_attention_mask"] == 0
    other = tensors | {"prompt_embeds": tensors["prompt_embeds"] + 5 * beyond[..., None]}
    unmasked = {k: v for k, v in tensors.items() if "mask" not in k}

    def found(tensors: dict[str, Tensor]) -> Tensor:
        path = tmp_path / "e.safetensors"
        save_file(tensors, path)
        return load(folders, name, condition=Condition(embeddings=path))(x_t, t)

    assert torch.allclose(found(tensors), found(other), atol=1e-5)
    assert not torch.allclose(found(tensors), found(unmasked), atol=1e-5)
    with pytest.raises(UsageError, match=r"prompt_attention_mask must be \(1, 5\).* is \(1, 4\)"):
        found(tensors | {"prompt_attention_mask": torch.ones(1, 4)})


@pytest.mark.parametrize("name", ["stable-diffusion", "pixart-sigma"])
def test_weights_of_half_precision_compute_in_full(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    half = tmp_path / "half"
    shutil.copytree(folders[name], half)
    part = half / ("unet" if name == "stable-diffusion" else "transformer")
    cls = getattr(diffusers, type(load(folders, name).network).__name__)
    network = cls.from_pretrained(part, torch_dtype=torch.float16)
    vae = AutoencoderKL.from_pretrained(half / "vae", torch_dtype=torch.float16)
    for folder, model in ((part, network), (half / "vae", vae)):
        (folder / "diffusion_pytorch_model.safetensors").unlink()
        model.save_pretrained(folder, variant="fp16")
    condition = KINDS[name].condition(tmp_path)
    denoiser = load_denoiser(half, condition=condition)
    assert {p.dtype for p in denoiser.parameters()} == {torch.float32}
    x_t, t = inputs(name)[0], torch.tensor([5, 100, 400])
    full = load(folders, name)(x_t, t)
    assert torch.allclose(denoiser(x_t, t), full, rtol=0.02, atol=0.02 * full.abs().max().item())
    assert denoiser.encode(torch.zeros(1, 3, 16, 16)).dtype == torch.float32
    asked = load_denoiser(half, condition=condition, dtype=torch.bfloat16)
    assert asked.network.dtype == torch.bfloat16
    found = asked(x_t, t)
    assert found.dtype == torch.float32
    assert torch.allclose(found, full, rtol=0.1, atol=0.1 * full.abs().max().item())
    network.save_pretrained(part, variant="bf16")
    with pytest.raises(CheckpointError, match="of the variants bf16 and fp16, and no plain ones"):
        load_denoiser(half, condition=condition)


def test_a_distilled_network_is_told_its_guidance(folders: dict[str, Path]) -> None:
    x_t, t = inputs("flux")
    path = embeddings(folders["flux"])
    one, four = (
        load(folders, "flux", condition=Condition(embeddings=path, guidance=g)) for g in (1.0, 4.0)
    )
    assert four.empty is None
    assert four.condition["guidance"].tolist() == [4.0]
    assert not torch.allclose(one(x_t, t), four(x_t, t), atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_gradients_flow(name: str, folders: dict[str, Path]) -> None:
    """Autograd and torch.func against central differences, in float64."""
    if name == "lumina" and torch.__version__.startswith("2.6."):
        pytest.skip("Lumina counts a prompt's tokens as numbers, which torch.func of 2.6 has not")
    denoiser = load(folders, name).double()
    random = torch.Generator().manual_seed(2)
    shape = KINDS[name].image_shape
    x, v, u = torch.randn(3, 2, *shape, generator=random, dtype=torch.float64)
    t = torch.tensor([300, 600])
    # Lumina turns its tokens by their places in float32, and AuraFlow normalises in it.
    single = name in ("lumina", "aura-flow")
    h, most, least = (1e-2, 1e-2, 1e-4) if single else (1e-5, 1e-4, 1e-10)
    with torch.no_grad():
        numeric = ((denoiser(x + h * v, t) - denoiser(x - h * v, t)) * u).sum() / (2 * h)
    x.requires_grad_()
    (by_autograd,) = torch.autograd.grad((denoiser(x, t) * u).sum(), x)
    assert (by_autograd * v).sum().item() == pytest.approx(numeric.item(), rel=most, abs=1e-6)
    with sdpa_kernel(SDPBackend.MATH):  # the others have no rule for vmap
        _, backward = torch.func.vjp(lambda z: denoiser(z, t), x.detach())
        (by_func,) = torch.func.vmap(backward)(torch.stack([u, 2 * u]))
    assert torch.allclose(by_func[0], by_autograd, atol=least)
    assert torch.allclose(by_func[1], 2 * by_autograd, atol=least)


def test_the_old_name_of_a_dit_is_understood(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["dit"], tmp_path / "old")
    config = tmp_path / "old" / "transformer" / "config.json"
    settings = json.loads(config.read_text()) | {"_class_name": "Transformer2DModel"}
    config.write_text(json.dumps(settings))
    x_t, t = inputs("dit")
    old = load_denoiser(tmp_path / "old", condition=Condition(class_label=7))
    assert torch.equal(old(x_t, t), load(folders, "dit")(x_t, t))


def test_a_learned_variance_is_dropped(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = unet(out_channels=6).eval()
    scheduler = DDPMScheduler(variance_type="learned_range")
    DDPMPipeline(network, scheduler).save_pretrained(tmp_path)
    denoiser = load_denoiser(tmp_path)
    x_t, t = inputs("pixels")
    alpha, sigma = denoiser.alpha_sigma(t)
    with torch.no_grad():
        eps = network(x_t, t).sample[:, :3]
    assert torch.allclose(alpha * denoiser(x_t, t) + sigma * eps, x_t, atol=1e-4)
    config = SamplingConfig(n=2, steps=3, batch_size=2)
    assert sample(denoiser, denoiser.image_shape, DDPMConfig(), config).images.isfinite().all()


def test_a_single_network_takes_its_schedule_from_around_it(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = unet()
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="sample")
    for folder in ("beside", "inside", "flat"):
        network.save_pretrained(tmp_path / folder / "net")
    scheduler.save_pretrained(tmp_path / "beside" / "scheduler")
    scheduler.save_pretrained(tmp_path / "inside" / "net" / "scheduler")
    scheduler.save_pretrained(tmp_path / "flat" / "net")
    for folder in ("beside", "inside", "flat"):
        denoiser = load_denoiser(tmp_path / folder / "net")
        assert denoiser.prediction_type == "sample"
        assert torch.allclose(
            denoiser.schedule.alphas.square().float(), scheduler.alphas_cumprod, atol=1e-6
        )
    network.save_pretrained(tmp_path / "alone" / "net")
    with pytest.raises(CheckpointError, match=r"there is no scheduler_config.json"):
        load_denoiser(tmp_path / "alone" / "net")
    given = noise_scheduler(NoiseConfig(prediction_type="v_prediction"))
    denoiser = load_denoiser(tmp_path / "alone" / "net", scheduler=given)
    assert denoiser.prediction_type == "v_prediction"


def test_a_size_is_asked_for_or_known(folders: dict[str, Path], tmp_path: Path) -> None:
    assert load(folders, "stable-diffusion", size=(32, 24)).image_shape == (4, 16, 12)
    flux = load(folders, "flux", size=None)
    assert flux.image_shape == (4, 128, 128)
    with pytest.raises(UsageError, match="multiples of 4 pixels, not 10×8"):
        load(folders, "flux", size=(10, 8))
    shutil.copytree(folders["pixels"], tmp_path / "any")
    config = tmp_path / "any" / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_size": None}))
    with pytest.raises(UsageError, match="images of any size: say which"):
        _ = load_denoiser(tmp_path / "any").image_shape
    assert load_denoiser(tmp_path / "any", size=(4, 6)).image_shape == (3, 4, 6)


@pytest.mark.parametrize("size", [(12, 8), (16, 16)])
def test_the_shift_of_a_flow_follows_the_size(
    size: tuple[int, int], folders: dict[str, Path]
) -> None:
    denoiser = load(folders, "flux", size=size)
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(folders["flux"] / "scheduler")
    tokens = size[0] * size[1] // 16
    mu = np.interp(tokens, (4, 4096), (0.5, 1.15))
    # The Flux pipeline's own spacing; all of it are levels of the denoiser.
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 8, 8), mu=mu)
    levels = torch.arange(1000, 0, -125) - 1
    assert torch.allclose(
        denoiser.schedule.sigmas[levels].float(), scheduler.sigmas[:-1], atol=1e-6
    )


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_is_sampled_as_diffusers_would(name: str, folders: dict[str, Path]) -> None:
    denoiser = load(folders, name)
    config = SamplingConfig(n=3, steps=6, batch_size=3)
    ours = sample(denoiser, denoiser.image_shape, DDIMConfig(), config)
    assert ours.sampler["class"] == "FlowMatchEulerDiscreteScheduler"
    json.dumps(dict(ours.sampler))

    shift = denoiser.scheduler.config.shift
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=1 - np.round(np.arange(6) * 1000 / 6) / 1000)
    x = torch.randn(3, *denoiser.image_shape, generator=generator(0, "sampling", 0))
    for timestep in scheduler.timesteps:
        with torch.no_grad():
            v = denoiser.predict(x, timestep.expand(3))
        x = scheduler.step(v, timestep, x).prev_sample
    assert torch.allclose(ours.images, x, atol=1e-4)
    with pytest.raises(UsageError, match="sampler ddpm is not for flow matching; choose from ddim"):
        sample(denoiser, denoiser.image_shape, DDPMConfig(), config)
    with pytest.raises(UsageError, match="has no eta"):
        sample(denoiser, denoiser.image_shape, DDIMConfig(eta=0.5), config)


@pytest.mark.parametrize("name", ["stable-diffusion", "dit"])
def test_latents_are_not_clipped(name: str, folders: dict[str, Path]) -> None:
    denoiser = load(folders, name)
    assert not denoiser.scheduler.config.clip_sample
    assert load(folders, "pixels").scheduler.config.clip_sample
    config = SamplingConfig(n=2, steps=4, batch_size=2)
    samples = sample(denoiser, denoiser.image_shape, DDPMConfig(), config)
    assert not samples.sampler["config"]["clip_sample"]
    assert samples.images.abs().max() > 1


@pytest.mark.parametrize(
    ("name", "condition", "message"),
    [
        ("pixels", {"prompt": "a cat"}, "UNet2DModel takes no prompt"),
        ("pixels", {"class_label": 1}, "UNet2DModel takes no class label"),
        ("pixels", {"guidance": 2.0}, "UNet2DModel has no condition to be guided by"),
        ("classes", {}, "conditioned on a class: give a class label from 0 to 4$"),
        ("classes", {"class_label": 5}, "a class label from 0 to 4, not 5"),
        ("classes", {"class_label": 1, "guidance": 2.0}, "has no empty class"),
        ("dit", {"class_label": -1}, "a class label from 0 to 999, not -1"),
        ("dit", {"prompt": "a cat"}, "DiTTransformer2DModel takes no prompt"),
        ("dit", {"class_label": 1, "guidance": 0.5}, "guidance must be at least 1"),
        ("stable-diffusion", {}, "conditioned on a prompt: give one, or precomputed embeddings"),
        ("stable-diffusion", {"class_label": 1}, "takes a prompt, not a class label"),
        ("sd3", {"prompt": "a cat", "embeddings": Path("x")}, "cannot both be told"),
        ("flux", {"embeddings": Path("absent.safetensors")}, "no file of embeddings at absent"),
    ],
)
def test_the_wrong_condition_is_refused(
    name: str, condition: dict[str, Any], message: str, folders: dict[str, Path]
) -> None:
    with pytest.raises(UsageError, match=message):
        load(folders, name, condition=Condition(**condition))


def test_a_dry_run_says_what_the_model_would_be_told(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["probe", str(folders["sdxl"]), "--prompt", "a cat", "--lora", "x:2", "--dry-run"]
    assert run(asked) == 0
    told = json.loads(capsys.readouterr().out)["model"]
    assert told == {"prompt": "a cat", "guidance": 1.0, "lora": ["x:2"], "dtype": "float32"}


def test_embeddings_that_do_not_fit_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"

    def attempt(**tensors: Tensor) -> None:
        save_file(tensors, path)
        load(folders, "sd3", condition=Condition(embeddings=path))

    text, pooled = torch.zeros(1, 5, 12), torch.zeros(1, 6)
    with pytest.raises(UsageError, match=r"needs pooled_prompt_embeds \(1, width\) .*prompt_embe"):
        attempt(prompt_embeds=text)
    with pytest.raises(UsageError, match=r"width 12; it is \(1, 5, 11\)"):
        attempt(prompt_embeds=text[..., 1:].clone(), pooled_prompt_embeds=pooled)
    with pytest.raises(UsageError, match=r"it is \(2, 6\)"):
        attempt(prompt_embeds=text, pooled_prompt_embeds=torch.zeros(2, 6))
    attempt(prompt_embeds=text[0], pooled_prompt_embeds=pooled[0])
    with pytest.raises(UsageError, match="needs negative_prompt_embeds"):
        load(folders, "sd3", condition=Condition(embeddings=path, guidance=2.0))
    torch.save({"prompt_embeds": text}, path)
    with pytest.raises(UsageError, match="cannot be read as a safetensors file"):
        load(folders, "sd3", condition=Condition(embeddings=path))


def change(folder: Path, name: str, **settings: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def break_pipeline(folder: Path) -> None:
    change(folder, "model_index.json", _class_name="StableDiffusionInpaintPipeline")


def break_network(folder: Path) -> None:
    change(folder, "unet/config.json", _class_name="UNet1DModel")


def lose_network(folder: Path) -> None:
    shutil.rmtree(folder / "unet")


def break_scheduler(folder: Path) -> None:
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({"_class_name": "EDMEulerScheduler", "sigma_min": 0.002}))


def break_autoencoder(folder: Path) -> None:
    change(folder, "vae/config.json", _class_name="VQModel")


def break_weights(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()


def break_keys(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors.pop("conv_in.weight")
    save_file(tensors, file, {"format": "pt"})


def break_kandinsky(folder: Path) -> None:
    """The embedding of an image, as Kandinsky 2.2 takes it."""
    network = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=12,
        attention_head_dim=2,
        addition_embed_type="image",
        encoder_hid_dim=30,
        **BLOCKS,
    )
    network.save_pretrained(folder / "unet")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            break_pipeline,
            "is a StableDiffusionInpaintPipeline; diffprobe loads DDPMPipeline, .*Fl.*"
            "; the nearest is StableDiffusionPipeline$",
        ),
        (
            lose_network,
            "is a StableDiffusionPipeline without its network: there is no unet and no tra",
        ),
        (break_network, "holds a UNet1DModel; diffprobe loads .*SD3Transformer2DModel"),
        (break_scheduler, "is a EDMEulerScheduler; diffprobe takes diffusion schedules"),
        (break_autoencoder, "holds a VQModel; diffprobe encodes by AutoencoderKL"),
        (break_weights, "weights in .* cannot be loaded"),
        (break_keys, r"1 missing keys \(conv_in.weight\)"),
        (
            break_kandinsky,
            "with addition_embed_type='image' is not supported; .*FluxPipeline.*"
            "; the nearest is StableDiffusionPipeline$",
        ),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_what_is_not_supported_is_refused_in_one_line(
    damage: Callable[[Path], None], message: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "theirs"
    shutil.copytree(folders["stable-diffusion"], folder)
    damage(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_denoiser(folder, condition=Condition(embeddings=embeddings(tmp_path)))
    assert "\n" not in str(caught.value)


def test_a_prompt_needs_encoders(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"pip install 'diffprobe\[text\]', or give precomputed"):
        load(folders, "stable-diffusion", condition=Condition(prompt="a cat"))


def test_only_what_is_asked_for_is_downloaded(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fnmatch import fnmatch

    asked: list[tuple[str, list[str], list[str]]] = []

    def download(
        repository: str, *, allow_patterns: list[str], ignore_patterns: list[str], revision: None
    ) -> str:
        asked.append((repository, allow_patterns, ignore_patterns))
        if repository == "owner/absent":
            raise OSError("404 Client Error.\nRepository not found")
        return str(folders["pixels"])

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert load_denoiser("hub:owner/name").image_shape == (3, 8, 8)
    assert find_checkpoint(Path("hub:owner/name")).path == folders["pixels"]
    repository, allowed, ignored = asked[0]
    assert repository == "owner/name"
    taken = {
        file: any(fnmatch(file, p) for p in allowed) and not any(fnmatch(file, p) for p in ignored)
        for file in (
            "model_index.json",
            "unet/diffusion_pytorch_model.safetensors",
            "transformer/diffusion_pytorch_model-00001-of-00003.safetensors",
            "tokenizer/merges.txt",
            "diffusion_pytorch_model.safetensors",
            "unet/diffusion_pytorch_model.bin",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "v1-5-pruned.safetensors",
            "v1-5-pruned.ckpt",
            "pipeline.py",
            "safety_checker/model.safetensors",
        )
    }
    assert [file for file, yes in taken.items() if yes] == list(taken)[:5]
    with pytest.raises(CheckpointError, match=r"hub:owner/absent cannot be downloaded: 404[^\n]*$"):
        load_denoiser("hub:owner/absent")
    with pytest.raises(UsageError, match="write hub:owner/name"):
        load_denoiser("hub:name")
    count = len(asked)
    with pytest.raises(DiffprobeError, match="no checkpoint or run folder at owner/name"):
        load_denoiser("owner/name")
    assert len(asked) == count
