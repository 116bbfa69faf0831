"""LoRA adapters, merged into tiny networks, against the product of their factors by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    FluxPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from encoders import complete
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from pipelines import KINDS
from safetensors.torch import save_file
from torch import nn

from diffprobe.foundations.errors import CheckpointError, UsageError
from diffprobe.models import Adapter, Condition, load_denoiser

RANK, ALPHA = 2, 6.0
SAVE = {
    "stable-diffusion": (StableDiffusionPipeline, "unet", "to_q"),
    "sdxl": (StableDiffusionXLPipeline, "unet", "to_q"),
    "flux": (FluxPipeline, "transformer", "to_q"),
}


def write_adapter(folder: Path, name: str, network: nn.Module, **beside: Any) -> None:
    """Save a random adapter, as diffusers would after training, and leave the network changed."""
    cls, part, layer = SAVE[name]
    weights, settings = adapter_of(network, layer)
    cls.save_lora_weights(
        folder,
        **{f"{part}_lora_layers": weights, f"{part}_lora_adapter_metadata": settings},
        **beside,
    )


def adapter_of(model: Any, layer: str) -> tuple[dict[str, Any], dict[str, Any]]:
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=[layer], init_lora_weights=False)
    model.add_adapter(config)
    return get_peft_model_state_dict(model), {
        "r": RANK,
        "lora_alpha": ALPHA,
        "target_modules": [layer],
        "rank_pattern": {},
        "alpha_pattern": {},
    }


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    found = {}
    for name in SAVE:
        found[name] = tmp_path_factory.mktemp(name)
        KINDS[name].build(found[name])
    return found


def options(name: str) -> dict[str, Any]:
    return {"size": (12, 8)} if name == "flux" else {}


@pytest.mark.parametrize("name", SAVE)
def test_a_merged_adapter_adds_its_factors_product(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    condition = KINDS[name].condition(tmp_path)
    plain = load_denoiser(folders[name], condition=condition, **options(name))
    donor = load_denoiser(folders[name], condition=condition, **options(name)).network
    write_adapter(tmp_path / "lora", name, donor)
    changed = load_denoiser(
        folders[name],
        condition=condition,
        adapters=[Adapter(tmp_path / "lora", 0.5)],
        **options(name),
    )
    before, after = plain.network.state_dict(), changed.network.state_dict()
    assert before.keys() == after.keys()
    touched = 0
    for key, module in donor.named_modules():
        if hasattr(module, "lora_A"):
            down, up = (m["default"].weight for m in (module.lora_A, module.lora_B))
            expected = before[f"{key}.weight"] + 0.5 * ALPHA / RANK * up @ down
            assert torch.allclose(after[f"{key}.weight"], expected, atol=1e-5)
            before.pop(f"{key}.weight")
            touched += 1
    assert touched
    assert all(torch.equal(after[key], value) for key, value in before.items())
    x_t = torch.randn(2, *KINDS[name].image_shape, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([300, 900])
    assert (changed(x_t, t) - plain(x_t, t)).abs().max() > 1e-4
    file = Adapter(tmp_path / "lora" / "pytorch_lora_weights.safetensors", 0)
    none = load_denoiser(folders[name], condition=condition, adapters=[file], **options(name))
    assert torch.allclose(none(x_t, t), plain(x_t, t), atol=1e-5)


def test_what_an_adapter_says_to_the_text_encoder_is_merged(tmp_path: Path) -> None:
    torch.manual_seed(1)
    pipeline = complete("stable-diffusion", tmp_path / "bare", tmp_path / "whole")
    weights, _ = adapter_of(pipeline.unet, "to_q")
    weights = {f"unet.{key}": value for key, value in weights.items()}
    for key, module in pipeline.text_encoder.named_modules():
        if key.endswith("q_proj"):
            down, up = torch.randn(RANK, 12), torch.randn(12, RANK)
            weights[f"text_encoder.{key}.lora_A.weight"] = down
            weights[f"text_encoder.{key}.lora_B.weight"] = up
            with torch.no_grad():
                module.weight += up @ down
    save_file(weights, tmp_path / "lora.safetensors", {"format": "pt"})
    adapter = Adapter(tmp_path / "lora.safetensors")
    # Embeddings are as they are given: only the network changes.
    given = KINDS["stable-diffusion"].condition(tmp_path)
    load_denoiser(tmp_path / "whole", condition=given, adapters=[adapter])
    prompt = Condition(prompt="a cat")
    changed = load_denoiser(tmp_path / "whole", condition=prompt, adapters=[adapter])
    expected, _ = pipeline.encode_prompt("a cat", "cpu", 1, False)
    assert torch.allclose(changed.condition["encoder_hidden_states"], expected, atol=1e-5)


def test_adapters_that_cannot_be_merged_are_refused(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "stable-diffusion"
    condition = KINDS[name].condition(tmp_path)
    donor = load_denoiser(folders[name], condition=condition).network
    write_adapter(tmp_path / "lora", name, donor)
    adapter = Adapter(tmp_path / "lora")
    assert Adapter.parse(f"{tmp_path}/lora:0.25") == Adapter(tmp_path / "lora", 0.25)
    assert str(Adapter(tmp_path / "lora", 0.25)) == "lora:0.25"
    with pytest.raises(UsageError, match=r"a number, as in PATH:0.5; not 'big'"):
        Adapter.parse(f"{tmp_path}/lora:big")
    with pytest.raises(UsageError, match=r"no adapter at .*lor: did you mean '.*lora'"):
        Adapter.parse(f"{tmp_path}/lor")
    (tmp_path / "pickled.bin").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"must be a .safetensors file, which is read without"):
        Adapter.parse(f"{tmp_path}/pickled.bin")
    flux = KINDS["flux"].condition(tmp_path)
    with pytest.raises(CheckpointError, match=r"into a FluxTransformer2DModel: it holds nothing"):
        load_denoiser(folders["flux"], condition=flux, adapters=[adapter], size=(12, 8))
    dit = tmp_path / "dit"
    KINDS["dit"].build(dit)
    with pytest.raises(UsageError, match="loads no LoRA adapter into a DiTPipeline"):
        load_denoiser(dit, condition=Condition(class_label=1), adapters=[adapter])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'diffprobe\[lora\]'"):
        load_denoiser(folders[name], condition=condition, adapters=[adapter])
