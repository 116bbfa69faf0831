"""Placement in words."""

from collections.abc import Mapping
from typing import Any

from diffprobe.foundations.records import interval


def lines(summary: Mapping[str, Any]) -> list[str]:
    """Return gamma, scale, mu, what is missed, and how far the product oracle is, in words."""
    exact = f"{summary['total_correlation_nats']:.3f}"
    if summary["undefined"]:
        found = [f"gamma         undefined: {summary['undefined']}"]
    else:
        found = [
            f"gamma         {interval(summary['gamma'])} (0 local, 1 optimal)",
            f"scale         {interval(summary['scale'])} (1 calibrated)",
        ]
        if summary["mu"] is not None:
            found.append(
                f"mu            {interval(summary['mu'])} above {summary['mu']['n']} placebo sets' "
                f"{interval(summary['mu_placebo'])} (1 recalls its training set)"
            )
        found += [
            f"unexplained   {interval(summary['unexplained'])} of what is not the product's",
            f"missed        {interval(summary['missed_along_nats'])} nats of the grammar's {exact} "
            f"(on these inputs {interval(summary['grammar_nats'])})",
        ]
    return [
        *found,
        f"missed whole  {interval(summary['missed_nats'])} nats with all other errors (path bound)",
        f"to product    {interval(summary['to_product_nats'])} nats (0 is the product oracle)",
    ]
