"""Guide a network by its class, and the exact optimum beside it: does it obey, and say how much?

diffprobe train --preset conditional-transformer --out runs/classes
python examples/guidance_figure.py runs/classes
"""

import argparse
from dataclasses import replace
from pathlib import Path

from diffprobe.datasets import SymbolImages
from diffprobe.datasets.condition import ClassConditions
from diffprobe.evaluation.verdicts import judge
from diffprobe.evaluation.words import distribution
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

with figure(asked.out, 7.0, 3.2) as canvas:
    obeys, says = canvas.subplots(1, 2)
    for k, (name, line) in enumerate(zip(classes.token_names(()), LINES, strict=False)):
        language = classes.language(k)
        own = SymbolImages(language, world.glyphs, world.grid)
        for who, denoiser in denoisers.items():
            rates, counts = [], []
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
                read = found.words[found.legible]
                enough = len(read) >= distribution.FEWEST
                words = distribution.measure(own, read).effective_words if enough else None
                rates.append(found.grammatical_rate)
                counts.append(None if words is None else words.value)
                print(f"{name}, {who}, guidance {weight:g}: legible {found.legible_rate}")
                print(f"  of these words of the class {found.grammatical_rate}")
                print(f"  words in effect, of {language.count()}: {words}")
            style = {"color": COLORS[who], "linestyle": line, "label": f"{who}, {name}"}
            obeys.plot(asked.weights, [rate.value for rate in rates], marker="o", ms=3, **style)
            low, high = [rate.low for rate in rates], [rate.high for rate in rates]
            obeys.fill_between(asked.weights, low, high, color=COLORS[who], alpha=0.15, lw=0)
            share = [None if c is None else c / language.count() for c in counts]
            says.plot(asked.weights, share, marker="o", ms=3, **style)
    obeys.set(xlabel="guidance w", ylabel="words of the class, of the legible")
    says.set(xlabel="guidance w", ylabel="effective words, of those of the class", ylim=(0, None))
    canvas.legend(*obeys.get_legend_handles_labels(), loc="outside lower center", ncols=3)
