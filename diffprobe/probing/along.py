"""Along training: probes, and verdicts on samples, at every checkpoint of a run.

Every checkpoint is measured at the same noise level and on the same inputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from diffprobe.evaluation.verdicts import judge
from diffprobe.foundations.progress import silent
from diffprobe.foundations.records import interval, write_record
from diffprobe.foundations.settings import to_settings
from diffprobe.foundations.statistics import Rate
from diffprobe.models.checkpoint import load_denoiser
from diffprobe.models.checkpoint_folder import Checkpoint, list_checkpoints
from diffprobe.probing.contract import ProbeKind
from diffprobe.probing.measuring import keep_of, keep_of_probe, measured, numbers
from diffprobe.probing.naming import CHOOSES_LEVEL, differing, tag
from diffprobe.probing.subject import Subject
from diffprobe.sampling import sample
from diffprobe.training.run_folder import RunFolder


@dataclass(frozen=True)
class Rates:
    """Shares of a checkpoint's samples.

    Attributes:
        legible: Of all.
        grammatical: Of the legible ones.
        recalled: Training words of the valid ones; of none where no training set is finite.
        verdicts: Verdict -> share of all.
    """

    legible: Rate
    grammatical: Rate
    recalled: Rate
    verdicts: dict[str, Rate]


@dataclass(frozen=True)
class Moment:
    """Measurements at one checkpoint.

    Attributes:
        step: Training step.
        summaries: Probe -> its summary.
        followed: Name -> estimate, or None: the numbers that the probes follow along training.
        rates: Of samples; None where no grammar judges them.
    """

    step: int
    summaries: dict[str, dict[str, Any]]
    followed: dict[str, Any]
    rates: Rates | None


@dataclass(frozen=True)
class Along:
    """Measurements at each checkpoint.

    Attributes:
        moments: One a checkpoint, in order of step.
        asked: The probes that were asked for by name, and so measured as a whole.
        t: The noise level of what looks at one.
        log_snr: The same as log(alpha²/sigma²).
        total_correlation: What the grammar is worth, in nats; None where none is known.
        product_rate: Chance line of the grammatical rate; None where no grammar is known.
        settings: Of the sampler.
    """

    moments: list[Moment]
    asked: tuple[str, ...]
    t: int
    log_snr: float
    total_correlation: float | None
    product_rate: float | None
    settings: dict[str, Any]

    def rows(self) -> list[dict[str, Any]]:
        """Return what is followed of each checkpoint, and its rates."""
        return [
            {
                "step": m.step,
                **m.followed,
                "legible": m.rates.legible if m.rates else None,
                "grammatical": m.rates.grammatical if m.rates else None,
            }
            for m in self.moments
        ]

    def summaries(self) -> dict[str, list[dict[str, Any]]]:
        """Return the summaries at each checkpoint of the probes that were asked for."""
        return {
            name: [{"step": m.step, **m.summaries[name]} for m in self.moments]
            for name in self.asked
        }

    def record(self) -> dict[str, Any]:
        """Return what is written of it."""
        return {
            "t": self.t,
            "log_snr": self.log_snr,
            "total_correlation": self.total_correlation,
            "product_rate": self.product_rate,
            "rows": self.rows(),
            "settings": self.settings,
        }


def follow(
    subject: Subject,
    run: RunFolder,
    kinds: Mapping[str, ProbeKind],
    folder: Path,
    *,
    asked: bool,
) -> Along:
    """Measure every checkpoint of a run.

    Args:
        subject: The checkpoint that is probed; level, inputs and oracles are its.
        run: Its run.
        kinds: The probes.
        folder: Of the subject's records. Those of the other checkpoints go to its neighbours.
        asked: Whether the probes were asked for by name. They are measured as a whole then, and
            what is quick of them is if not.
    """
    kinds = {name: kind for name, kind in kinds.items() if kind.along}
    moments = []
    oracles: dict[str, dict[str, Any]] = {name: {} for name in kinds}
    for checkpoint in subject.progress(
        list_checkpoints(run.path), desc="along training", unit="checkpoint"
    ):
        then = replace(
            subject,
            denoiser=load_denoiser(
                checkpoint.path, subject.config.weights, subject.denoiser.device
            ),
            step=checkpoint.step,
            progress=subject.progress if asked else silent,
        )
        moments.append(_moment(then, checkpoint, kinds, folder, asked, oracles))
    grammar = subject.dataset.grammar if subject.dataset else None
    config = subject.config
    return Along(
        moments=moments,
        asked=tuple(kinds) if asked else (),
        t=subject.level,
        log_snr=subject.denoiser.log_snr(torch.tensor([subject.level])).item(),
        total_correlation=grammar.total_correlation() if grammar else None,
        product_rate=grammar.product_rate() if grammar else None,
        settings={
            "sampler": to_settings(config.sampler),
            "sampler_steps": config.sampling.steps,
            "samples": config.probe.along_samples,
            "weights": config.weights,
        },
    )


def _moment(
    subject: Subject,
    checkpoint: Checkpoint,
    kinds: Mapping[str, ProbeKind],
    folder: Path,
    asked: bool,
    oracles: Mapping[str, dict[str, Any]],
) -> Moment:
    cache = folder / "cache" / checkpoint.path.name
    summaries: dict[str, dict[str, Any]] = {}
    followed: dict[str, Any] = {}
    for name, kind in kinds.items():
        if asked:
            place = folder.parent / checkpoint.path.name
            results = measured(kind, subject, keep_of_probe(kind, subject, place / "cache"))
            write_record(place / f"{name}{tag(differing(subject, kind))}.json", numbers(results))
        else:
            keep = keep_of(name, subject, cache, kind, (*kind.reads, *CHOOSES_LEVEL), oracles[name])
            glance = kind.glance(subject, keep)
            if glance is None:
                continue
            results = dict(glance)
        summaries[name] = kind.summary(results)
        followed |= kind.followed(summaries[name], subject)
    return Moment(checkpoint.step or 0, summaries, followed, _rates(subject, cache))


def _rates(subject: Subject, cache: Path) -> Rates | None:
    dataset = subject.dataset
    if dataset is None:
        return None
    sampling = replace(subject.config.sampling, n=subject.config.probe.along_samples)

    def drawn() -> Rates:
        samples = sample(
            subject.denoiser,
            dataset.image_shape,
            subject.config.sampler,
            sampling,
            silent,
            dataset=dataset,
            conditions=subject.config.condition.build(dataset.grammar),
        )
        stream = subject.config.stream.build(dataset.grammar)
        verdicts = judge(dataset, samples, stream)
        return Rates(
            verdicts.legible_rate,
            verdicts.grammatical_rate,
            verdicts.recalled_rate,
            verdicts.shares(),
        )

    return keep_of("samples", subject, cache, sampling, ("sampler",))("rates", Rates, drawn)


def lines(result: Along) -> list[str]:
    """Return a table with a line for each checkpoint; intervals that are not symmetric fit."""
    columns = {
        "ldr": "LDR",
        "gamma": "gamma",
        "mu": "mu above placebos",
        "missed_along_nats": "missed (nats)",
        "to_product_nats": "to product (nats)",
        "unexplained": "unexplained",
    }
    rows = result.rows()
    shown = {key: name for key, name in columns.items() if any(key in row for row in rows)}
    width = len("0.000 (-0.000 to 0.000)")
    names = "".join(f"{name:{width}}  " for name in shown.values())
    found = [f"{'step':>8}  {names}legible  grammatical"]
    for row in rows:
        told = "".join(f"{interval(row[k]) if row[k] else '-':{width}}  " for k in shown)
        found.append(f"{row['step']:>8,}  {told}{_rates_in_words(row)}".rstrip())
    return found


def _rates_in_words(row: Mapping[str, Any]) -> str:
    legible, grammatical = row["legible"], row["grammatical"]
    if legible is None:
        return "      -  -"
    share = "-" if grammatical.value is None else f"{grammatical.value:.1%}"
    return f"{legible.value:7.1%}  {share} ({grammatical.low:.1%} to {grammatical.high:.1%})"
