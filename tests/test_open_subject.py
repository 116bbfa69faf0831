"""Anybody's denoiser, from a folder on disk to numbers and figures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pipelines import KINDS

from diffprobe.cli import run
from diffprobe.config import Config, ProbeConfig, SamplingConfig
from diffprobe.foundations.errors import UsageError
from diffprobe.probes.attribution import AttributionConfig
from diffprobe.probing import open_subject, run_probes
from diffprobe.probing.jacobian import exact_energies

CONFIG = Config(
    probe=ProbeConfig(images=4, levels=3, batch_size=4),
    probes={"attribution": AttributionConfig(images=3)},
    sampling=SamplingConfig(steps=3, batch_size=4),
)
SIZES = {"flux": (12, 8)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    found = {}
    for name, kind in KINDS.items():
        found[name] = tmp_path_factory.mktemp(name)
        kind.build(found[name])
    return found


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_pipeline_is_probed_on_its_own_samples(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    kind = KINDS[name]
    subject = open_subject(
        folders[name],
        CONFIG,
        condition=kind.condition(folders[name]),
        size=SIZES.get(name),
        regions="2x2",
    )
    assert subject.images.image_shape == kind.image_shape
    assert subject.source.startswith("its own samples")
    results = run_probes(subject, ["locality"], out=tmp_path)
    network = results.results["locality"]["network"]
    assert network.ldr.value.isfinite().all()
    assert ((network.pooled.value > 0) & (network.pooled.value <= 1)).all()
    # The level of the other probes is the one nearest log-SNR 0.
    log_snr = subject.denoiser.log_snr(torch.arange(subject.denoiser.timesteps))
    assert log_snr[subject.level].abs() == log_snr.abs().min()


def test_regions_and_pictures_of_a_latent_model_are_given_in_pixels(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    random = np.random.default_rng(0)
    for i in range(5):
        pixels = random.integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(pictures / f"{i}.png")
    subject = open_subject(
        folders["stable-diffusion"],
        CONFIG,
        condition=KINDS["stable-diffusion"].condition(folders["stable-diffusion"]),
        images=pictures,
        regions="0,0,8,16;8,0,8,16",
    )
    # 16×16 pixels are 8×8 latents of 4 channels; a half of the picture is a half of those.
    assert subject.images.image_shape == (4, 8, 8)
    assert subject.regions.masks.sum((1, 2, 3)).tolist() == [4 * 4 * 8] * 2
    assert subject.source == "pictures of pictures"
    with pytest.raises(UsageError, match="leaves the image of 8×8"):
        open_subject(
            folders["stable-diffusion"],
            CONFIG,
            condition=KINDS["stable-diffusion"].condition(folders["stable-diffusion"]),
            images=pictures,
            regions="0,0,8,18",
        )


def test_another_condition_is_another_measurement(folders: dict[str, Path], tmp_path: Path) -> None:
    ratios = []
    for label in (7, 8, 7):
        condition = replace(KINDS["dit"].condition(folders["dit"]), class_label=label)
        subject = open_subject(folders["dit"], CONFIG, condition=condition, regions="2x2")
        found = run_probes(subject, ["locality"], out=tmp_path).results["locality"]["network"]
        x_t = subject.images.draw_images(2, torch.Generator().manual_seed(0))
        direct = exact_energies(subject.denoiser, x_t, 500, subject.regions)
        ratios.append((found.ratios, direct))
    assert not torch.equal(ratios[0][0], ratios[1][0])
    assert not torch.equal(ratios[0][1], ratios[1][1])
    assert torch.equal(ratios[0][0], ratios[2][0])


def test_the_command_line_says_what_is_missing(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dit = ["probe", "--checkpoint", str(folders["dit"]), "--probe", "locality", "--out", "out"]
    assert run(dit) == 2
    assert "is conditioned on a class: give a class label" in capsys.readouterr().err
    assert run([*dit, "--class-label", "1000"]) == 2
    assert "from 0 to 999, not 1000" in capsys.readouterr().err
    assert run([*dit, "--class-label", "1", "--prompt", "a cat"]) == 2
    assert "takes no prompt" in capsys.readouterr().err
    sd = ["probe", "--checkpoint", str(folders["stable-diffusion"]), "--out", str(tmp_path)]
    assert run(sd) == 2
    assert "give one, or precomputed embeddings" in capsys.readouterr().err
    assert run([*sd, "--embeddings", "absent.safetensors"]) == 2
    assert "absent.safetensors" in capsys.readouterr().err
    small = ["probe.images=4", "probe.levels=2", "sampling.steps=2"]
    settings = [part for s in small for part in ("--set", s)]
    arguments = ["--class-label", "1", "--regions", "2x2", "--device", "cpu", *settings]
    assert run([*dit[:-1], str(tmp_path / "out"), *arguments]) == 0
    text = capsys.readouterr().out
    assert "no grammar is known: no oracle curves; inputs: its own samples" in text
    assert "LDR" in text
