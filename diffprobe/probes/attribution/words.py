"""Attribution in numbers and words."""

from collections.abc import Mapping
from typing import Any

from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.records import estimate, interval
from diffprobe.probes.attribution import metrics, sample_words
from diffprobe.probes.attribution.judging import Measured
from diffprobe.probes.attribution.maps import Attribution, agreement_between, excess_share
from diffprobe.probes.attribution.methods import CONTROLS, TITLES
from diffprobe.probes.attribution.one_sample import Account
from diffprobe.probes.attribution.truth import EFFECTS, Truth


def summary(results: Mapping[str, Measured]) -> dict[str, Any]:
    """Return local shares, agreements with the optimum and the truth, and what is not exact."""
    measured = attributions(results)
    if isinstance(account := results.get("sample"), Account):
        return sample_words.summary(account, measured)
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


def lines(content: Mapping[str, Any]) -> list[str]:
    """Return the headline in words."""
    if "sample" in content:
        return sample_words.lines(content)
    beside = content["network_vs_bayes"]
    found = [
        f"attribution of {content['region']}, {content['output']} of its output "
        f"(log-SNR {content['log_snr']:z.2f}, t = {content['t']}, {content['images']} images)",
        f"  share of |map| inside the region, which is {content['region_size']:.3f} of the image"
        + (f"; rank agreement, {content['chance_agreement']:.2f} if about it alone" * bool(beside)),
    ]
    for method in content["methods"]:
        parts = [f"{who} {interval(by[method])}" for who, by in content["local_share"].items()]
        if beside:
            parts.append(f"network with bayes {interval(beside[method])}")
        found.append(f"  {TITLES[method]:20} " + ", ".join(parts))
    if "shapley" in content["methods"]:
        found.append(f"  {TITLES['shapley']}: {_how_shapley(content)}")
    return found + _metric_lines(content) + _truth_lines(content["truth"])


def _how_shapley(content: Mapping[str, Any]) -> str:
    if content["shapley"] == "exact":
        return "exact, from all coalitions of cells"
    errors = (e for e in content["shapley_error"].values() if e is not None)
    return f"from {content['shapley']} of cells, each value off by {max(errors):.1%} or less (rms)"


def _metric_lines(content: Mapping[str, Any]) -> list[str]:
    if not content["metric_images"]:
        return []
    found = [
        f"  infidelity, 1 for a map of zeros; sensitivity-max for steps of "
        f"±{metrics.RADIUS} ({content['metric_images']} images)"
    ]
    for method in content["methods"]:
        parts = [
            f"{who} {interval(content['infidelity'][who][method])}; {interval(by[method])}"
            for who, by in content["sensitivity_max"].items()
        ]
        found.append(f"  {TITLES[method]:20} " + ", ".join(parts))
    return found


def _truth_lines(truth: Mapping[str, Any] | None) -> list[str]:
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


def attributions(results: Mapping[str, Measured]) -> dict[str, Attribution]:
    """Return the attributions alone, without the truth."""
    return {name: r for name, r in results.items() if isinstance(r, Attribution)}


def _shapley_error(result: Attribution) -> float | None:
    """Root-mean-square error of the Shapley values over orders, relative to the values."""
    if "shapley" not in result.methods:
        return None
    i = result.methods.index("shapley")
    error, size = (v[i].square().mean().sqrt() for v in (result.cell_error, result.cell_sums))
    return (error / size).item()
