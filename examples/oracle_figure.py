"""Draw what is computed without any network: how local the optima are, where the grammar lives."""

from pathlib import Path

from diffprobe.config import ProbeConfig
from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.dyck import DyckConfig
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.datasets.stream import FreshWords
from diffprobe.foundations.figures import COLORS, LINES, figure
from diffprobe.foundations.records import interval
from diffprobe.models import BayesDenoiser, Denoiser, ProductDenoiser, noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import image_baselines
from diffprobe.probes.locality import figures, ldr
from diffprobe.probes.placement import PlacementConfig, place

scheduler = noise_scheduler(NoiseConfig())
worlds = {
    "parity, 8 cells": SymbolImages(ParityConfig(8).build(), Glyphs.font("01"), (1, 8)),
    "brackets of two kinds, 8 cells": SymbolImages(
        DyckConfig(8, 2).build(), Glyphs.font("()[]"), (1, 8)
    ),
}
common = ProbeConfig(images=64, levels=21)

with figure(Path("docs/figures/oracles"), 7.5, 5.0) as canvas:
    axes = canvas.subplots(2, 2, sharex=True, sharey="row")
    for (name, world), (above, below) in zip(worlds.items(), axes.T, strict=True):
        product, bayes = ProductDenoiser(world, scheduler), BayesDenoiser(world, scheduler)
        oracles: dict[str, Denoiser] = {"bayes": bayes, "product": product}
        oracles |= image_baselines(world, scheduler, FreshWords(world.grammar), n=64)
        for who, oracle in oracles.items():
            result = ldr.measure(oracle, world, common=common)
            figures.plot(result, above, label=who, color=COLORS[who], ls=LINES.get(who))
        placed = place.measure(product, world, PlacementConfig(images=2000))
        below.fill_between(placed.log_snr.numpy(), placed.weight.numpy(), color="0.8")
        below.set(xlabel="log-SNR (nats)")
        above.set(title=name, xlabel="", xlim=(-8, 6))
        print(
            f"{name}: integral {interval(placed.summary()['grammar_nats'])} nats; "
            f"total correlation {world.grammar.total_correlation():.3f}"
        )
    axes[0, 0].legend()
    axes[0, 1].set_ylabel("")
    axes[1, 0].set_ylabel("the grammar is worth\n(nats per unit log-SNR)")
