"""Attribution: shares, agreement of methods, and how true the maps are, of the Bayes oracle."""

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from coverage_parts.table import Row, picks
from coverage_parts.worlds import World
from diffprobe.config import ProbeConfig
from diffprobe.foundations.intervals import RESOLUTION, mean
from diffprobe.foundations.ranks import rank_correlation
from diffprobe.probes.attribution import AttributionConfig, judging, maps
from diffprobe.probes.attribution import truth as truths
from diffprobe.probes.attribution.ranks import telling

METHODS = ("saliency", "integrated-gradients-prior-mean", "feature-ablation")
DEFAULT = AttributionConfig()


def rows(world: World, pool: int, repeats: int) -> Iterator[Row]:
    """Yield a row for each method and number."""
    settings = replace(
        DEFAULT, images=pool, metric_images=0, integration_steps=16, redraws=32, methods=METHODS
    )
    common = ProbeConfig(batch_size=500)
    oracles = {k: v for k, v in world.denoisers.items() if k != "network"}
    result = maps.measure(oracles["bayes"], world.images, settings, common, t=world.level)
    truth = judging.judge(result, world.images, oracles, settings, common)
    cells = telling(result.cell_sums, result.size)
    agreement = rank_correlation(cells[:1], cells[1:])
    index = picks(pool, repeats, DEFAULT.images)

    def row(what: str, values: Tensor, resolution: float) -> Row:
        found = mean(values[index], resolution=resolution)
        return Row.of(world.at(world.level), what, found, values.nanmean())

    for i, method in enumerate(METHODS):
        yield row(f"share inside, {method}", result.shares[i], RESOLUTION)
        judged = method if method in truth.methods else f"{method}-{DEFAULT.baseline}"
        for name, others in (("others", True), ("all cells", False)):
            values = truth.scores("redrawn", others=others)[truth.methods.index(judged)]
            yield row(f"truth, {name}, {method}", values, truths.RESOLUTION)
        if i:
            yield row(f"agreement with saliency, {method}", agreement[i - 1], RESOLUTION)
