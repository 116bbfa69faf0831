import json
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file

from diffprobe.foundations.errors import CheckpointError, UsageError
from diffprobe.models import Condition, load_denoiser, noise_scheduler
from diffprobe.models.checkpoint import save_checkpoint
from diffprobe.models.checkpoint_folder import find_checkpoint, list_checkpoints
from diffprobe.models.networks.transformer import TransformerConfig
from diffprobe.models.networks.unet import UNetConfig
from diffprobe.models.noise_settings import NoiseConfig

SHAPE = (1, 8, 16)
UNET = UNetConfig(channels=(8, 16), layers_per_block=1, attention=(False, True), norm_groups=4)
TRANSFORMER = TransformerConfig(width=16, depth=1, heads=2)


def write(path: Path, config: UNetConfig | TransformerConfig) -> Path:
    scheduler = noise_scheduler(NoiseConfig(prediction_type="v_prediction"))
    ema, raw = (config.build(SHAPE, seed) for seed in (1, 2))
    save_checkpoint(path, {"ema": ema, "raw": raw}, scheduler)
    return path


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a checkpoint must never be downloaded")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("config", [UNET, TRANSFORMER], ids=["unet", "transformer"])
def test_checkpoints_hold_ema_and_raw_weights(
    config: UNetConfig | TransformerConfig, tmp_path: Path
) -> None:
    path = write(tmp_path / "step-000007", config)
    assert find_checkpoint(path).step == 7
    for weights, seed in (("ema", 1), ("raw", 2)):
        denoiser = load_denoiser(path, weights)
        expected = config.build(SHAPE, seed).state_dict()
        found = denoiser.network.state_dict()
        assert all(torch.equal(found[k], v) for k, v in expected.items())
        assert denoiser.prediction_type == "v_prediction"
        assert not denoiser.training
        assert not any(p.requires_grad for p in denoiser.parameters())


def test_diffusers_samples_from_the_unet_checkpoint(tmp_path: Path) -> None:
    path = write(tmp_path / "step-000007", UNET)
    pipeline = DDPMPipeline.from_pretrained(path, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        batch_size=2, num_inference_steps=2, output_type="np", generator=torch.manual_seed(0)
    ).images
    assert images.shape == (2, 8, 16, 1)


def test_an_outsiders_pipeline_is_loaded(tmp_path: Path) -> None:
    network = UNet2DModel(
        sample_size=8,
        in_channels=3,
        out_channels=3,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        layers_per_block=1,
    )
    DDPMPipeline(unet=network, scheduler=DDPMScheduler()).save_pretrained(tmp_path / "theirs")
    denoiser = load_denoiser(tmp_path / "theirs")
    assert denoiser.prediction_type == "epsilon"
    x = torch.randn(2, 3, 8, 8)
    assert denoiser(x, torch.tensor([3, 900])).shape == x.shape
    with pytest.raises(CheckpointError, match=r"one set of weights, and none called 'raw'"):
        load_denoiser(tmp_path / "theirs", "raw")


def test_our_networks_have_one_size_and_no_condition(tmp_path: Path) -> None:
    path = write(tmp_path / "step-000007", TRANSFORMER)
    assert load_denoiser(path, size=(8, 16)).image_shape == SHAPE
    with pytest.raises(UsageError, match="for images of 8×16 pixels"):
        load_denoiser(path, size=(16, 16))
    with pytest.raises(UsageError, match="StripTransformer takes neither a prompt nor a class"):
        load_denoiser(path, condition=Condition(class_label=1))
    assert load_denoiser(write(tmp_path / "step-000008", UNET)).image_shape == SHAPE


def test_runs_list_their_checkpoints_in_order(tmp_path: Path) -> None:
    for step in (100, 5, 1000000):
        write(tmp_path / "run" / "checkpoints" / f"step-{step:06d}", TRANSFORMER)
    (tmp_path / "run" / "checkpoints" / ".partial-step-000200").mkdir()
    assert [c.step for c in list_checkpoints(tmp_path / "run")] == [5, 100, 1000000]
    assert find_checkpoint(tmp_path / "run").step == 1000000


def test_paths_that_hold_no_checkpoint_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", Path("owner/name")):
        with pytest.raises(CheckpointError, match="no checkpoint or run folder at"):
            load_denoiser(path)
        with pytest.raises(CheckpointError, match="no checkpoint or run folder at"):
            list_checkpoints(path)
    with pytest.raises(CheckpointError, match="neither a run folder"):
        load_denoiser(tmp_path)
    (tmp_path / "config.json").write_text('{"config": {}}')  # a run that has not got that far
    with pytest.raises(CheckpointError, match="neither a run folder"):
        load_denoiser(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="holds no checkpoints"):
        load_denoiser(tmp_path)


def damage_missing_key(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, file, {"format": "pt"})


def damage_extra_key(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({**load_file(file), "stranger": torch.zeros(2)}, file, {"format": "pt"})


def damage_shape(folder: Path) -> None:
    config = folder / "unet" / "config.json"
    settings = json.loads(config.read_text())
    settings["width"] = 32
    config.write_text(json.dumps(settings))


def damage_truncate(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def damage_remove(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()


def damage_pickle(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(file), file.with_name("diffusion_pytorch_model.bin"))
    file.unlink()


def damage_json(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text('{"_class_name": ')


def damage_class(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text('{"_class_name": "UNet1DModel"}')


def damage_no_class(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text("[1, 2]")


def damage_scheduler(folder: Path) -> None:
    shutil.rmtree(folder / "scheduler")


def damage_schedule(folder: Path) -> None:
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "beta_schedule": "nonsense"}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_missing_key, "1 missing keys"),
        (damage_extra_key, r"1 unexpected keys \(stranger\)"),
        (damage_shape, "cannot be loaded|mismatched keys"),
        (damage_truncate, "cannot be loaded"),
        (damage_remove, "cannot be loaded"),
        (damage_pickle, "cannot be loaded"),
        (damage_json, "config.json is damaged"),
        (damage_class, "holds a UNet1DModel; diffprobe loads .*MLP, .*FluxTransformer2DModel"),
        (damage_no_class, "holds no settings"),
        (damage_scheduler, "there is no scheduler_config.json"),
        (damage_schedule, "schedule in .* cannot be used"),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_damaged_checkpoints_are_refused(damage, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = write(tmp_path / "step-000001", TRANSFORMER)
    damage(path)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_denoiser(path)
    (path / "SHA256SUMS").unlink()  # as folders from elsewhere are
    with pytest.raises(CheckpointError, match=message):
        load_denoiser(path)


def test_a_flipped_bit_is_found_in_what_is_loaded(tmp_path: Path) -> None:
    path = write(tmp_path / "step-000001", TRANSFORMER)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=path, check=True)
    file = path / "raw" / "diffusion_pytorch_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)
    load_denoiser(path)  # the others are whole
    with pytest.raises(
        CheckpointError, match=r"raw/diff.* is damaged: its checksum is not that in"
    ):
        load_denoiser(path, "raw")
    manifest = path / "SHA256SUMS"
    for cut in (0, 200):
        manifest.write_text(manifest.read_text()[:cut])
        with pytest.raises(CheckpointError, match="SHA256SUMS is damaged: delete it"):
            load_denoiser(path)


def test_another_models_folder_never_becomes_random_weights(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """diffusers itself loads these weights into a U-Net, silently random."""
    path = write(tmp_path / "step-000001", TRANSFORMER)
    write(tmp_path / "other", UNET)
    shutil.copy(tmp_path / "other" / "unet" / "config.json", path / "unet" / "config.json")
    (path / "SHA256SUMS").unlink()
    with pytest.raises(CheckpointError, match=r"do not fit its UNet2DModel: .* missing keys"):
        load_denoiser(path)
    assert capfd.readouterr().err == ""  # the error says it
