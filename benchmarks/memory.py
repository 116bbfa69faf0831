"""Peak memory of every command, each in a process of its own, beside the budget it was given.

The largest are a million samples judged, many more images sampled than may be held, and two foreign
denoisers with 64 regions: latents of 512×512 pixels, 4×64×64, and as many pixels themselves. Their
networks are small, so that this takes minutes: what is measured is what is held at once.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image

from diffprobe.foundations.memory import parse, spelled
from diffprobe.resolution import resolve

SAMPLES = 1_000_000
LOCALITY = ["--regions", "8x8", "--n", "2", "--levels", "1", "--level", "999"]
LOCALITY += ["--set", "sampling.steps=2", "--set", "probes.locality.projections=2"]
TRAIN = ["--set", "training.checkpoints=1", "--set", "training.validation_size=64"]


def peak(name: str, budget: str, *arguments: str) -> None:
    """Print one line: what a command took, and whether its budget held."""
    command = [sys.executable, "-m", "diffprobe", *arguments, "--json"]
    begun = time.perf_counter()
    done = subprocess.run(
        [*command, *(["--memory", budget] if budget else [])], capture_output=True, text=True
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        print(f"{name:42} {done.stderr.splitlines()[-1]}", flush=True)
        return
    held = json.loads(done.stdout)["peak_memory"]["process"]
    kept = "" if not budget else f" of {budget}{'' if held <= parse(budget) else ', exceeded'}"
    print(f"{name:42} {seconds:6.0f} s  {spelled(held)}{kept}", flush=True)


def foreign(folder: Path, channels: int, size: int, widths: tuple[int, ...]) -> str:
    """Store a pipeline of somebody else's, with random weights."""
    torch.manual_seed(0)
    rest = len(widths) - 1
    network = UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=1,
        block_out_channels=widths,
        norm_num_groups=4,
        down_block_types=("DownBlock2D",) * rest + ("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * rest,
    )
    DDPMPipeline(network, DDPMScheduler()).save_pretrained(folder)
    return str(folder)


def million(file: Path) -> str:
    """Store the demo's words, uniform and noisy, as bytes."""
    world, random = resolve(preset="demo").dataset(), torch.Generator().manual_seed(0)
    shape = SAMPLES, *world.image_shape
    images = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
    for first in range(0, SAMPLES, 10_000):
        words = torch.randint(2, (10_000, world.grammar.length), generator=random)
        x = world.render(words)
        x = (x + 0.1 * torch.randn(x.shape, generator=random)).clamp(-1, 1)
        images[first : first + 10_000] = (127.5 * (x + 1)).round().numpy()
    images.flush()
    return str(file)


def table(folder: Path) -> None:
    run, small = str(folder / "run"), str(folder / "small")
    peak("train demo, 20 steps", "2GiB", "train", "--preset", "demo", "--steps", "20", *TRAIN,
         "--out", run)  # fmt: skip
    peak("sample, 500", "1GiB", "sample", run, "--n", "500", "--sampler-steps", "10")
    peak("probe locality", "1GiB", "probe", "locality", run, "--levels", "3")
    peak("report, 500 samples", "1GiB", "report", run)
    peak("train an MLP, 20 steps", "2GiB", "train", "--preset", "parity-mlp", "--steps", "20",
         "--set", "network.width=64", *TRAIN, "--out", small)  # fmt: skip
    peak("sample, 100,000", "1GiB", "sample", small, "--n", "100000", "--sampler-steps", "2",
         "--batch-size", "4096")  # fmt: skip
    peak(f"report, {SAMPLES:,} samples", "2GiB", "report", million(folder / "million.npy"),
         "--dataset", "demo")  # fmt: skip
    latents = foreign(folder / "latents", 4, 64, (16, 32, 32))
    peak("probe 4×64×64, 64 regions", "4GiB", "probe", "locality", latents, *LOCALITY,
         "--out", str(folder / "of-latents"))  # fmt: skip
    (pictures := folder / "pictures").mkdir()
    for seed in range(2):
        noise = np.random.default_rng(seed).integers(0, 256, (512, 512, 3), np.uint8)
        Image.fromarray(noise).save(pictures / f"{seed}.png")
    pixels = foreign(folder / "pixels", 3, 512, (8, 16, 16, 32, 32))
    peak("probe 3×512×512, 64 regions", "4GiB", "probe", "locality", pixels, *LOCALITY,
         "--images", str(pictures), "--out", str(folder / "of-pixels"))  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        table(Path(folder))
