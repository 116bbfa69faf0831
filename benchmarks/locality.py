"""Random projections against the exact Jacobian: time, and the error of the LDR."""

import time

import torch

from diffprobe.config import NoiseConfig, ProbeConfig, UNetConfig
from diffprobe.datasets import Glyphs, Parity, SymbolImages
from diffprobe.models import NetworkDenoiser, build_network, noise_scheduler
from diffprobe.probes import locality


def main() -> None:
    torch.set_num_threads(2)
    dataset = SymbolImages(Parity(16), Glyphs.font("01"), (4, 4))
    network = build_network(UNetConfig(layers_per_block=1), dataset.image_shape).eval()
    network.requires_grad_(False)
    denoiser = NetworkDenoiser(network, noise_scheduler(NoiseConfig()))
    levels = torch.tensor([400])
    print("LDR of a U-Net with fresh weights, 32×32 pixels, 16 cells, 8 images")
    exact = None
    for projections in (0, 1, 4):
        config = ProbeConfig(images=8, projections=projections)
        begun = time.perf_counter()
        result = locality.measure(denoiser, dataset, config, levels=levels)
        seconds = time.perf_counter() - begun
        ldr, error = result.ldr.item(), result.ldr_error.item()
        name = f"{projections} projections a cell" if projections else "exact"
        line = f"  {name:21} {seconds:7.2f} s  LDR {ldr:.4f} ± {error:.4f} (standard error)"
        if exact is None:
            exact = (seconds, ldr)
        else:
            line += f"; {exact[0] / seconds:.1f} times faster, off by {abs(ldr - exact[1]):.4f}"
        print(line)


if __name__ == "__main__":
    main()
