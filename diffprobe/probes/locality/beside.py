"""Locality of a network beside the oracles, on the same inputs."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffprobe.config import ProbeConfig
from diffprobe.models.denoiser import Denoiser
from diffprobe.probes.locality import LocalityConfig
from diffprobe.probes.locality.ldr import Locality, measure
from diffprobe.probing.precision import inputs_needed, stated

if TYPE_CHECKING:
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject


def measure_beside(
    settings: LocalityConfig, subject: "Subject", keep: "Keep"
) -> dict[str, Locality]:
    """Measure network and oracles on the same inputs.

    With a precision, on as many as network, Bayes oracle and their difference need.
    """
    include = tuple(sorted({subject.level, *filter(None, [subject.forms_at])}))
    common = stated(subject.config.probe, grammar_known=subject.dataset is not None)

    def one(
        name: str, denoiser: Denoiser, part: str, common: ProbeConfig, inputs: Tensor | None
    ) -> Locality:
        compute = partial(
            measure,
            denoiser,
            subject.images,
            settings,
            common,
            regions=subject.regions,
            include=include,
            inputs=inputs,
            description=f"locality, {name}",
            progress=subject.progress,
        )
        return keep(part, Locality, compute)

    inputs = None
    if common.precision and "bayes" in subject.oracles:
        block = replace(common, precision=0.0)
        first = [
            one(name, denoiser, f"{name}-first", block, None)
            for name, denoiser in subject.beside("bayes").items()
        ]
        inputs = _needed_by_all(first, common)
    found: dict[str, Locality] = {}
    for name, denoiser in {"network": subject.denoiser, **subject.oracles}.items():
        if name == "empirical" and denoiser is subject.oracles.get("bayes"):
            found[name] = found["bayes"]
        else:
            found[name] = one(name, denoiser, name, common, inputs)
            inputs = found["network"].inputs
    return found


def measure_level(
    settings: LocalityConfig, subject: "Subject", keep: "Keep"
) -> dict[str, Locality]:
    """Measure the Bayes oracle, where it is known, and the network at the subject's level alone."""
    level = torch.tensor([subject.level])

    def one(name: str, denoiser: Denoiser, inputs: Tensor | None) -> Locality:
        compute = partial(
            measure,
            denoiser,
            subject.images,
            settings,
            subject.config.probe,
            regions=subject.regions,
            levels=level,
            inputs=inputs,
        )
        return keep(name, Locality, compute)

    if (bayes := subject.oracles.get("bayes")) is None:
        return {"network": one("network", subject.denoiser, None)}
    optimum = one("bayes", bayes, None)
    return {"network": one("network", subject.denoiser, optimum.inputs), "bayes": optimum}


def beside_the_optimum(results: Mapping[str, Locality]) -> dict[str, Locality]:
    """Return the measurements with every LDR over the inputs at which Bayes depends on anything."""
    if "bayes" not in results:
        return dict(results)
    told = results["bayes"].ratios.isfinite()
    return {name: result.among(told) for name, result in results.items()}


def _needed_by_all(first: list[Locality], common: ProbeConfig) -> Tensor:
    """How many inputs each level needs for every LDR and, of two, their difference: (T,)."""
    ratios = [result.ratios for result in first]
    if len(first) == 2:
        ratios.append(ratios[0] - ratios[1])
    return torch.tensor(
        [max(inputs_needed(row, common) for row in rows) for rows in zip(*ratios, strict=True)]
    )
