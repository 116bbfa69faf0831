"""Attribution maps of one region's output, where they agree, and which of them tell the truth.

`attribution_maps` attributes the network's output and the Bayes denoiser's. Which method tells what
an output really depends on is known for the latter: `attribution_truth` ranks its maps, from every
baseline, against exact effects. Each ± is a 95 % interval over images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.datasets import SymbolImages
from diffprobe.foundations.figures import COLORS, LABELS
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.progress import Progress, silent
from diffprobe.foundations.records import estimate, interval
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes import attribution_metrics, attribution_truth
from diffprobe.probes.attribution_figures import CONTROLS, draw_agreement, draw_maps, draw_truth
from diffprobe.probes.attribution_figures import plot as plot
from diffprobe.probes.attribution_maps import (
    Attribution,
    agreement_between,
    are_cells,
    excess_share,
    measure,
    weights_of,
)
from diffprobe.probes.attribution_methods import AT_CHOICE, TITLES, from_every_baseline
from diffprobe.probes.attribution_truth import EFFECTS, Truth
from diffprobe.probes.regions import Regions

if TYPE_CHECKING:
    from diffprobe.probes.cache import Keep
    from diffprobe.probes.subject import Subject

SETTINGS = (
    "region",
    "attribution_images",
    "attribution_methods",
    "attribution_output",
    "attribution_baseline",
    "attribution_steps",
    "attribution_shapley_samples",
    "attribution_redraws",
    "attribution_metric_images",
    "seed",
)


def probe(subject: "Subject", keep: "Keep") -> dict[str, Attribution | Truth]:
    """Attribute the network's output, beside it the Bayes optimum's, and judge the methods by it.

    The part "truth" is there where the regions are the cells of a dataset.
    """
    found: dict[str, Attribution | Truth] = dict(
        subject.measure_each(keep, Attribution, measure, "bayes", regions=subject.regions)
    )
    bayes, dataset = found.get("bayes"), subject.dataset
    if (
        dataset is not None
        and isinstance(bayes, Attribution)
        and are_cells(subject.regions, dataset)
    ):
        config, progress = subject.config.probe, subject.progress
        found["truth"] = keep(
            "truth", Truth, lambda: judge(bayes, dataset, subject.oracles, config, progress)
        )
    return found


def judge(
    bayes: Attribution,
    dataset: SymbolImages,
    oracles: Mapping[str, Denoiser],
    config: ProbeConfig | None = None,
    progress: Progress = silent,
) -> Truth:
    """Put the maps of the Bayes denoiser, from every baseline, beside what its output depends on.

    Args:
        bayes: Its attribution, whose regions are the dataset's cells.
        dataset: What it is the optimum of.
        oracles: "bayes" and "product".
        config: As for `measure`.
        progress: Called as tqdm is.
    """
    config = replace(config or ProbeConfig(), attribution_metric_images=0)
    names = [f"{m}-{bayes.settings['baseline']}" if m in AT_CHOICE else m for m in bayes.methods]
    known = dict(zip(names, bayes.cell_sums, strict=True))
    wanted = from_every_baseline(bayes.methods)

    def sums(who: str, methods: Sequence[str]) -> dict[str, Tensor]:
        result = measure(
            oracles[who],
            dataset,
            config,
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
    return attribution_truth.measure(
        dataset,
        bayes.x_t,
        alpha,
        sigma,
        weights_of(oracles["bayes"], dataset, config, Regions.cells(dataset), bayes.x_t, bayes.t),
        bayes.region,
        {m: known[m] for m in wanted},
        product,
        draws=config.attribution_redraws,
        seed=config.seed,
        sources=bayes.sources,
    )


def draw(results: dict[str, Attribution | Truth], subject: "Subject", folder: Path) -> None:
    """One image's maps; agreement of methods and shares; which methods tell the truth."""
    measured = _attributions(results)
    labels = [LABELS.get(name, subject.architecture) for name in measured]
    colors = [COLORS[subject.architecture if name == "network" else name] for name in measured]
    shown = list(measured.values())
    draw_maps(shown, labels, folder / "attribution")
    draw_agreement(
        shown,
        labels,
        colors,
        agreement_between(*shown) if len(shown) == 2 else None,
        folder / "attribution-agreement",
    )
    if isinstance(truth := results.get("truth"), Truth):
        draw_truth(truth, shown[0], folder / "attribution-truth")


def summary(results: dict[str, Attribution | Truth]) -> dict[str, Any]:
    """Return local shares, agreements with the optimum and the truth, and what is not exact."""
    measured = _attributions(results)
    first = next(iter(measured.values()))

    def by_method(found: Interval) -> dict[str, dict[str, Any]]:
        return {name: estimate(found, i) for i, name in enumerate(first.methods)}

    beside = (measured["network"], measured["bayes"]) if "bayes" in measured else None
    truth = results.get("truth")
    return {
        "region": first.cells[first.region],
        "t": first.t,
        "log_snr": first.log_snr,
        **first.settings,
        "methods": first.methods,
        "local_share": {name: by_method(r.local_share) for name, r in measured.items()},
        "images_told": {
            name: dict(zip(r.methods, r.shares.isfinite().sum(-1).tolist(), strict=True))
            for name, r in measured.items()
        },
        "region_size": first.mask.float().mean().item(),
        "excess_local_share": by_method(excess_share(*beside)) if beside else None,
        "network_vs_bayes": by_method(agreement_between(*beside)) if beside else None,
        "chance_agreement": first.chance,
        "agreement": {
            name: {
                "matrix": r.agreement.value,
                "low": r.agreement.low,
                "high": r.agreement.high,
            }
            for name, r in measured.items()
        },
        "incompleteness": {
            name: dict(zip(r.methods, r.incompleteness.tolist(), strict=True))
            for name, r in measured.items()
        },
        "shapley_error": {name: _shapley_error(r) for name, r in measured.items()},
        "metric_images": first.metrics.shape[1],
        "infidelity": {name: by_method(r.infidelity) for name, r in measured.items()},
        "sensitivity_max": {name: by_method(r.sensitivity) for name, r in measured.items()},
        "truth": _truth_record(truth) if isinstance(truth, Truth) else None,
    }


def lines(content: dict[str, Any], subject: "Subject") -> list[str]:
    """Return the headline in words."""
    beside = content["network_vs_bayes"]
    found = [
        f"attribution of {content['region']}, {content['output']} of its output "
        f"(log-SNR {content['log_snr']:.2f}, t = {content['t']}, {content['images']} images)",
        f"  share of |map| inside the region, which is {content['region_size']:.3f} of the image"
        + (f"; rank agreement, {content['chance_agreement']:.2f} if about it alone" * bool(beside)),
    ]
    for method in content["methods"]:
        parts = [f"{who} {interval(by[method])}" for who, by in content["local_share"].items()]
        if beside:
            parts.append(f"network with bayes {interval(beside[method])}")
        found.append(f"  {TITLES[method]:20} " + ", ".join(parts))
    return found + _metric_lines(content) + _truth_lines(content["truth"])


def _metric_lines(content: dict[str, Any]) -> list[str]:
    if not content["metric_images"]:
        return []
    found = [
        f"  infidelity, 1 for a map of zeros; sensitivity-max for steps of "
        f"±{attribution_metrics.RADIUS} ({content['metric_images']} images)"
    ]
    for method in content["methods"]:
        parts = [
            f"{who} {interval(content['infidelity'][who][method])}; {interval(by[method])}"
            for who, by in content["sensitivity_max"].items()
        ]
        found.append(f"  {TITLES[method]:20} " + ", ".join(parts))
    return found


def _truth_lines(truth: dict[str, Any] | None) -> list[str]:
    if truth is None:
        return ["  which method tells the truth is known for the cells of a grammar's images alone"]
    chance, told = truth["chance"], truth["bayes"]
    found = [
        f"  told the truth about (Bayes): rank correlation with the exact effect of redrawing a "
        f"cell, over the other cells, chance {chance['others']:.2f}; over all, "
        f"{chance['all']:.2f} if about the own alone"
    ]
    for name, score in {**told["methods"], **told["controls"]}.items():
        title = TITLES.get(name, CONTROLS.get(name, name))
        found.append(f"  {title:26} {interval(score['others'])}; {interval(score['all'])}")
    return found


def _truth_record(truth: Truth) -> dict[str, Any]:
    def scores(effect: str) -> dict[str, dict[str, Any]]:
        others, everything = (truth.score(effect, others=which) for which in (True, False))
        return {
            name: {"others": estimate(others, i), "all": estimate(everything, i)}
            for i, name in enumerate(truth.methods)
        }

    # Under the oracle's name: it is the oracle's maps that are judged, whatever the network.
    return {
        "effect": EFFECTS[0],
        "draws": truth.draws,
        "chance": {"others": truth.chance(others=True), "all": truth.chance(others=False)},
        "bayes": {
            "methods": scores(EFFECTS[0]),
            "controls": {
                name: {
                    "others": estimate(truth.control(name, others=True)),
                    "all": estimate(truth.control(name, others=False)),
                }
                for name in truth.controls
            },
            "other_effects": {effect: scores(effect) for effect in EFFECTS[1:]},
        },
    }


def _attributions(results: Mapping[str, Attribution | Truth]) -> dict[str, Attribution]:
    return {name: r for name, r in results.items() if isinstance(r, Attribution)}


def _shapley_error(result: Attribution) -> float | None:
    """Root-mean-square error of the Shapley values over orders, relative to the values."""
    if "shapley" not in result.methods:
        return None
    i = result.methods.index("shapley")
    error, size = (v[i].square().mean().sqrt() for v in (result.cell_error, result.cell_sums))
    return (error / size).item()
