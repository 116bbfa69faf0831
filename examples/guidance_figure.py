"""Guide a network by its class, and the exact optimum beside it: does it obey, and say how much?

diffprobe train --preset conditional-transformer --out runs/classes
python examples/guidance_figure.py runs/classes
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from diffprobe.datasets import SymbolImages
from diffprobe.datasets.condition import ClassConditions
from diffprobe.evaluation.verdicts import judge
from diffprobe.evaluation.words import distribution
from diffprobe.foundations.estimates import Estimate
from diffprobe.foundations.figures import COLORS, figure
from diffprobe.models import BayesDenoiser, load_denoiser
from diffprobe.sampling import sample
from diffprobe.training import RunFolder

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("run", type=Path)
parser.add_argument("--n", type=int, default=512, help="samples of each class and weight")
parser.add_argument("--steps", type=int, default=50, help="of the sampler")
parser.add_argument("--weights", type=float, nargs="+", default=[0, 0.5, 1, 2, 3, 4])
parser.add_argument("--out", type=Path, default=Path("docs/figures/conditions-guidance"))
asked = parser.parse_args()

config = RunFolder(asked.run).config()
world = config.dataset()
classes = ClassConditions(world.grammar)
network = load_denoiser(asked.run, config.weights)
denoisers = {"network": network, "bayes": BayesDenoiser(world, network.scheduler)}
LINES = ("-", "--", ":")

PANELS = ("legible", "of the class, of the legible", "effective words / of the class")


def line_of(ax: Axes, estimates: Sequence[Estimate | None], scale: float, **style: Any) -> None:
    """Draw estimates over the weights, with their intervals; gaps where there is none."""
    value, low, high = (
        np.array([getattr(e, part, None) for e in estimates], float) / scale
        for part in ("value", "low", "high")
    )
    ax.plot(asked.weights, value, marker="o", ms=3, **style)
    ax.fill_between(asked.weights, low, high, color=style["color"], alpha=0.12, lw=0)


with figure(asked.out, 9.0, 3.0) as canvas:
    panels = canvas.subplots(1, len(PANELS))
    for k, (name, line) in enumerate(zip(classes.token_names(()), LINES, strict=False)):
        language = classes.language(k)
        own = SymbolImages(language, world.glyphs, world.grid)
        chance = {"color": COLORS["illegible"], "linestyle": line, "label": f"chance, {name}"}
        panels[1].axhline(language.product_rate(), lw=1, **chance)
        for who, denoiser in denoisers.items():
            found_of: list[tuple[Estimate | None, ...]] = []
            for weight in asked.weights:
                sampling = replace(
                    config.sampling,
                    n=asked.n,
                    batch_size=asked.n,
                    steps=asked.steps,
                    guidance=weight,
                    condition=name,
                )
                made = sample(
                    denoiser,
                    world.image_shape,
                    config.sampler,
                    sampling,
                    dataset=world,
                    conditions=classes,
                )
                found = judge(own, made)
                print(f"{name}, {who}, guidance {weight:g}: legible {found.legible_rate}")
                read = found.words[found.legible]
                rates: tuple[Estimate | None, ...] = (found.legible_rate, None, None)
                if len(read) >= distribution.FEWEST:  # fewer tell nothing
                    words = distribution.measure(own, read).effective_words
                    rates = found.legible_rate, found.grammatical_rate, words
                    print(f"  of these words of the class {found.grammatical_rate}")
                    print(f"  words in effect, of {language.count()}: {words}")
                found_of.append(rates)
            style = {"color": COLORS[who], "linestyle": line, "label": f"{who}, {name}"}
            scales = (1, 1, language.count())
            for ax, estimates, scale in zip(
                panels, zip(*found_of, strict=True), scales, strict=True
            ):
                line_of(ax, estimates, scale, **style)
    for ax, label in zip(panels, PANELS, strict=True):
        ax.set(xlabel="guidance w", ylabel=label, ylim=(0, 1.05))
    canvas.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
