"""Interventions in a network and in the oracles, with the Jacobian's picture beside them."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from diffprobe.foundations.records import estimate
from diffprobe.probes.intervention import InterventionConfig
from diffprobe.probes.intervention.changes import Intervention, measure
from diffprobe.probes.locality import LocalityConfig, ldr
from diffprobe.probes.locality.ldr import Locality

if TYPE_CHECKING:
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject

Measured = Intervention | Locality


def measure_beside(
    settings: InterventionConfig, subject: "Subject", keep: "Keep"
) -> dict[str, Measured]:
    """Intervene in noise and symbols, and take the Jacobian's matrix at the same level."""
    common = subject.config.probe
    of_the_jacobian = cast(LocalityConfig, subject.config.probe_settings("locality"))
    kinds: list[Literal["noise", "symbol"]] = ["noise", "symbol"] if subject.dataset else ["noise"]
    found: dict[str, Measured] = {}
    for name, denoiser in subject.beside("bayes", "product").items():
        found[f"{name}-jacobian"] = keep(
            f"{name}-jacobian",
            Locality,
            partial(
                ldr.measure,
                denoiser,
                subject.images,
                of_the_jacobian,
                common,
                regions=subject.regions,
                levels=torch.tensor([subject.level]),
                # The same inputs for all, whatever precision locality is asked for.
                inputs=torch.tensor([common.images]),
                description=f"Jacobian, {name}",
                progress=subject.progress,
            ),
        )
        for kind in kinds:
            found[f"{name}-{kind}"] = keep(
                f"{name}-{kind}",
                Intervention,
                partial(
                    measure,
                    denoiser,
                    subject.images,
                    settings,
                    common,
                    t=subject.level,
                    kind=kind,
                    regions=subject.regions,
                    progress=subject.progress,
                ),
            )
    return found


def beside_the_optimum(results: Mapping[str, Measured]) -> dict[str, Measured]:
    """Return the measurements with shares over the inputs at which Bayes depends on anything."""
    found: dict[str, Measured] = {}
    for key, result in results.items():
        optimum = results.get(f"bayes-{key.rsplit('-', 1)[1]}")
        found[key] = result if optimum is None else result.among(optimum.ratios.isfinite())
    return found


def summary(results: Mapping[str, Measured]) -> dict[str, Any]:
    """Return the local share by denoiser and kind."""
    results = beside_the_optimum(results)
    shares: dict[str, dict[str, Any]] = {}
    for key, result in results.items():
        name, kind = key.rsplit("-", 1)
        if isinstance(result, Intervention):
            value = estimate(result.local_share)
        else:
            value = estimate(result.ldr, 0)
        shares.setdefault(kind, {})[name] = value
    first = next(r for r in results.values() if isinstance(r, Intervention))
    return {
        "t": first.t,
        "log_snr": first.log_snr,
        "images": first.settings["images"],
        "local_share": shares,
    }
