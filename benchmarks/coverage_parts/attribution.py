"""Attribution: shares, agreement of methods, and how true the maps are, of the Bayes oracle."""

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from coverage_parts.table import Row, picks
from coverage_parts.worlds import World
from diffprobe.config import ProbeConfig
from diffprobe.foundations.intervals import RESOLUTION, mean
from diffprobe.foundations.ranks import rank_correlation
from diffprobe.probes import attribution, attribution_truth
from diffprobe.probes.attribution_ranks import telling

METHODS = ("saliency", "integrated-gradients-prior-mean", "feature-ablation")
DEFAULT = ProbeConfig()


def rows(world: World, pool: int, repeats: int) -> Iterator[Row]:
    """Yield a row for each method and number."""
    config = replace(
        DEFAULT,
        attribution_images=pool,
        attribution_metric_images=0,
        attribution_steps=16,
        attribution_redraws=32,
        attribution_methods=METHODS,
        batch_size=500,
    )
    oracles = {k: v for k, v in world.denoisers.items() if k != "network"}
    result = attribution.measure(oracles["bayes"], world.images, config, t=world.level)
    truth = attribution.judge(result, world.images, oracles, config)
    cells = telling(result.cell_sums, result.size)
    agreement = rank_correlation(cells[:1], cells[1:])
    index = picks(pool, repeats, DEFAULT.attribution_images)

    def row(what: str, values: Tensor, resolution: float) -> Row:
        found = mean(values[index], resolution=resolution)
        return Row.of(world.at(world.level), what, found, values.nanmean())

    for i, method in enumerate(METHODS):
        yield row(f"share inside, {method}", result.shares[i], RESOLUTION)
        judged = method if method in truth.methods else f"{method}-{DEFAULT.attribution_baseline}"
        for name, others in (("others", True), ("all cells", False)):
            values = truth.scores("redrawn", others=others)[truth.methods.index(judged)]
            yield row(f"truth, {name}, {method}", values, attribution_truth.RESOLUTION)
        if i:
            yield row(f"agreement with saliency, {method}", agreement[i - 1], RESOLUTION)
