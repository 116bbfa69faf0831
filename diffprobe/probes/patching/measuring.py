"""All that the probe measures: effects, responses, attention, and samples without parts."""

from functools import partial
from typing import TYPE_CHECKING, Any

from diffprobe.probes.patching import CORRUPTED, PatchingConfig, effects, response
from diffprobe.probes.patching import attention as looks
from diffprobe.probes.patching import samples as sampled
from diffprobe.probes.patching.attention import Attention
from diffprobe.probes.patching.components import components_of
from diffprobe.probes.patching.effects import Effects
from diffprobe.probes.patching.pairs import draw_pairs
from diffprobe.probes.patching.response import Response
from diffprobe.probes.patching.samples import SamplesWithout
from diffprobe.probing.noise_levels import spread_levels
from diffprobe.probing.untrained import untrained

if TYPE_CHECKING:
    from diffprobe.models.denoiser import Denoiser
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject


def measure_all(settings: PatchingConfig, subject: "Subject", keep: "Keep") -> dict[str, Any]:
    """Measure every part of the probe.

    Returns:
        "network" and "untrained": `Effects`, of the untrained network where the probes look alone;
        "NAME-response" of those, "bayes" and "product": `Response`; "attention" and
        "untrained-attention": `Attention`, where heads look at tokens of cells; "samples":
        `SamplesWithout`, where a grammar judges.
    """
    denoiser, common, regions = subject.denoiser, subject.config.probe, subject.regions
    bayes = subject.oracles.get("bayes")
    components = components_of(denoiser, settings.modules, regions)
    pairs = draw_pairs(subject.images, regions, settings.images, settings.noises, common.seed)
    spread = spread_levels(denoiser, settings.levels).tolist() if settings.levels else []
    levels = sorted({*spread, subject.level}, reverse=True)
    at = levels.index(subject.level)
    beside: dict[str, Denoiser] = dict(subject.beside("bayes", "product"))
    null = untrained(denoiser, common.seed)
    if null is not None:
        beside["untrained"] = null
    told: dict[str, Any] = {"common": common, "regions": regions, "bayes": bayes}
    patch: Any = partial(effects.measure, **told)
    found: dict[str, Any] = {
        "network": keep(
            "network",
            Effects,
            lambda: patch(
                denoiser,
                pairs,
                components,
                levels,
                replacements=settings.replace,
                at=at,
                progress=subject.progress,
            ),
        )
    }
    if null is not None:
        found["untrained"] = keep(
            "untrained",
            Effects,
            lambda: patch(null, pairs, components, [subject.level], replacements=[CORRUPTED]),
        )
    for name, other in beside.items():
        part = f"{name}-response"
        answer = partial(response.measure, other, pairs, levels, **told)
        found[part] = keep(part, Response, answer)
    if components.looking:
        look: Any = partial(looks.measure, modules=components.looking, **told)
        found["attention"] = keep(
            "attention", Attention, lambda: look(denoiser, pairs, levels=levels, at=at)
        )
        if null is not None:
            found["untrained-attention"] = keep(
                "untrained-attention",
                Attention,
                lambda: look(null, pairs, levels=[subject.level]),
            )
    if (drawn := _samples(settings, subject)) is not None:
        held, sampling, sampler, dataset = drawn
        found["samples"] = keep(
            "samples",
            SamplesWithout,
            lambda: sampled.measure(
                denoiser,
                dataset,
                pairs,
                components,
                settings.samples,
                held,
                common,
                sampling,
                sampler,
                progress=subject.progress,
            ),
        )
    return found


def _samples(settings: PatchingConfig, subject: "Subject") -> Any:
    """At what parts are held in samples, and how these are drawn; None where none are."""
    held = [kind for kind in settings.replace if kind != CORRUPTED]
    if not settings.samples or subject.dataset is None or not held:
        return None
    config = subject.config
    path = config.sampler.path(subject.denoiser.schedule, config.sampling.steps)
    if path.levels.ndim == 2:  # noise levels by cell, and a mean is that of one level
        return None
    return held[0], config.sampling, config.sampler, subject.dataset
