"""Two layers in numbers and words."""

from collections.abc import Mapping
from typing import Any

from diffprobe.foundations.records import estimate, interval
from diffprobe.probes.two_layer.losses import TwoLayer


def summary(result: TwoLayer) -> dict[str, Any]:
    """Return the plateau, how far the last checkpoint got, and what its neurons serve."""
    last = {name: value[-1].tolist() for name, value in result.statistics.items()}
    nearest = int(result.distance.argmin())
    tolerance = result.settings["tolerance"]
    arrived, arrives = result.first_beyond(-tolerance)
    left, leaves = result.first_beyond(tolerance)
    return {
        "steps": result.steps,
        "t": result.t,
        "log_snr": result.log_snr,
        "loss": result.loss,
        "product_loss": result.product_loss.value,
        "bayes_loss": result.bayes_loss.value,
        "plateau": result.plateau,
        "arrived": {"log10_step": arrived, "happened": arrives},
        "left": {"log10_step": left, "happened": leaves},
        "plateau_decades": left - arrived,
        "nearest_product": {
            "step": int(result.steps[nearest]),
            "share_of_gap": float(result.distance[nearest]),
        },
        "gained": estimate(result.gained, -1),
        "neurons": {
            name: {"plain": last[name][0], "by_contribution": last[name][1], "chance": chance}
            for name, chance in result.chance.items()
        },
        **result.settings,
    }


def lines(content: Mapping[str, Any]) -> list[str]:
    """Return the summary in words."""
    gained, neurons, plateau = content["gained"], content["neurons"], content["plateau"]
    where = f"from step {plateau[0]:,} to {plateau[1]:,}" if plateau else "at no checkpoint"
    nearest = content["nearest_product"]
    served, mixed = neurons["serving_coordinate_through"], neurons["serving_parity"]
    return [
        f"population loss over all {content['words']:,} words: within {content['tolerance']:.0%} "
        f"of the product oracle's (in terms of its distance to the optimum) {where}",
        f"nearest the product oracle at step {nearest['step']:,}: E‖D_net − D_product‖² is "
        f"{nearest['share_of_gap']:.1%} of E‖D_Bayes − D_product‖²",
        _crossing(content),
        f"at the last step the loss has gone {interval(gained)} of the way from product to optimum",
        f"neurons that serve one coordinate, in and out (cosine ≥ {content['threshold']:g}): "
        f"{served['plain']:.1%} of them with {served['by_contribution']:.1%} of all contribution "
        f"(random directions {served['chance']:.2%})",
        f"neurons along a parity direction: {mixed['plain']:.1%} with "
        f"{mixed['by_contribution']:.1%} of all contribution (random {mixed['chance']:.2%})",
    ]


def _crossing(content: Mapping[str, Any]) -> str:
    """Tell when the product's loss is reached and left; what never happens has a bound."""
    arrived, left = content["arrived"], content["left"]
    told = f"it is reached {_when(arrived)} and left {_when(left)}"
    if arrived["happened"]:
        return f"{told}: {content['plateau_decades']:.2f} decades of steps in between"
    return told


def _when(crossing: Mapping[str, Any]) -> str:
    step = f"step {10 ** crossing['log10_step']:,.0f}"
    return f"at {step}" if crossing["happened"] else f"not by {step}, the last"
