"""The network's maps beside the optimum's, and the optimum's maps beside the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import SymbolImages
from diffprobe.foundations.progress import Progress, silent
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.attribution import AttributionConfig, truth
from diffprobe.probes.attribution.maps import Attribution, measure
from diffprobe.probes.attribution.methods import AT_CHOICE, from_every_baseline
from diffprobe.probes.attribution.one_sample import Account
from diffprobe.probes.attribution.outputs import are_cells, weights_of
from diffprobe.probes.attribution.truth import Truth
from diffprobe.probing.precision import inputs_needed, stated
from diffprobe.probing.regions import Regions

if TYPE_CHECKING:
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject

Measured = Attribution | Truth | Account


def measure_beside(
    settings: AttributionConfig, subject: "Subject", keep: "Keep"
) -> dict[str, Measured]:
    """Attribute the network's output, beside it the Bayes optimum's, and judge the methods by it.

    The part "truth" is there where the regions are the cells of a dataset.
    """
    settings = replace(settings, images=_images_needed(settings, subject, keep))
    found: dict[str, Measured] = dict(
        subject.measure_each(keep, Attribution, measure, settings, "bayes", regions=subject.regions)
    )
    bayes, dataset = found.get("bayes"), subject.dataset
    if (
        dataset is not None
        and isinstance(bayes, Attribution)
        and are_cells(subject.regions, dataset)
    ):
        common, progress = subject.config.probe, subject.progress
        found["truth"] = keep(
            "truth",
            Truth,
            lambda: judge(bayes, dataset, subject.oracles, settings, common, progress),
        )
    return found


def _images_needed(settings: AttributionConfig, subject: "Subject", keep: "Keep") -> int:
    """How many images the first method's local share, and its difference to Bayes, need."""
    grammar_known = subject.dataset is not None
    if grammar_known and not subject.config.probe.precision:
        return settings.images
    common = replace(subject.config.probe, images=settings.images)
    common = stated(common, grammar_known=grammar_known)
    block = replace(settings, images=common.images, methods=settings.methods[:1], metric_images=0)

    def one(denoiser: Denoiser) -> Attribution:
        return measure(
            denoiser,
            subject.images,
            block,
            common,
            t=subject.level,
            regions=subject.regions,
            progress=subject.progress,
        )

    shares = [
        keep(f"{name}-first", Attribution, partial(one, denoiser)).shares[0]
        for name, denoiser in subject.beside("bayes").items()
    ]
    if len(shares) == 2:
        shares.append(shares[0] - shares[1])
    return max(inputs_needed(share, common) for share in shares)


def judge(
    bayes: Attribution,
    dataset: SymbolImages,
    oracles: Mapping[str, Denoiser],
    settings: AttributionConfig | None = None,
    common: ProbeConfig | None = None,
    progress: Progress = silent,
) -> Truth:
    """Put the maps of the Bayes denoiser, from every baseline, beside what its output depends on.

    Args:
        bayes: Its attribution, whose regions are the dataset's cells.
        dataset: What it is the optimum of.
        oracles: "bayes" and "product".
        settings, common: As for `measure`.
        progress: Called as tqdm is.
    """
    settings = replace(settings or AttributionConfig(), metric_images=0)
    common = common or ProbeConfig()
    names = [f"{m}-{bayes.settings['baseline']}" if m in AT_CHOICE else m for m in bayes.methods]
    known = dict(zip(names, bayes.cell_sums, strict=True))
    wanted = from_every_baseline(bayes.methods)

    def sums(who: str, methods: Sequence[str]) -> dict[str, Tensor]:
        result = measure(
            oracles[who],
            dataset,
            settings,
            common,
            t=bayes.t,
            methods=methods,
            description=f"attribution, truth ({who})",
            progress=progress,
        )
        return dict(zip(methods, result.cell_sums, strict=True))

    if missing := [m for m in wanted if m not in known]:
        known |= sums("bayes", missing)
    (product,) = sums("product", ["feature-ablation"]).values()
    alpha, sigma = (
        v.flatten().cpu()
        for v in oracles["bayes"].alpha_sigma(torch.tensor([bayes.t]).to(oracles["bayes"].device))
    )
    return truth.measure(
        dataset,
        bayes.x_t,
        alpha,
        sigma,
        weights_of(
            oracles["bayes"],
            dataset,
            Regions.cells(dataset),
            bayes.region,
            settings.output,
            bayes.x_t,
            bayes.t,
        ),
        bayes.region,
        {m: known[m] for m in wanted},
        product,
        draws=settings.redraws,
        seed=common.seed,
        sources=bayes.sources,
    )
