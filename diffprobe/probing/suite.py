"""The probes of one denoiser, beside the oracles: numbers as JSON, figures, and what is kept.

FOLDER/summary.json         the headline numbers of all that was measured
FOLDER/NAME.json            the numbers of the probe NAME
FOLDER/NAME_region-2.json   the same where settings differ from the run's own
FOLDER/*.png, *.svg         figures, called alike
FOLDER/cache/               everything measured, so that it need not be measured again
FOLDER/lock                 held while summary.json is added to
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch

from diffprobe.config import Config
from diffprobe.foundations import kinds
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.records import plain, write_record
from diffprobe.foundations.tables import Table
from diffprobe.probing.along import Along, follow
from diffprobe.probing.contract import ProbeKind
from diffprobe.probing.drawing import draw_once
from diffprobe.probing.headlines import rows_of
from diffprobe.probing.measuring import keep_of_probe, measured, numbers
from diffprobe.probing.naming import differing, tag
from diffprobe.probing.subject import Subject
from diffprobe.probing.summaries import Setting, write_summary


@dataclass(frozen=True, repr=False)
class ProbeResults(Table):
    """What the probes found, and where it is written.

    Attributes:
        folder: Holds the records and figures.
        subject: What was probed.
        kinds: Probe -> its settings.
        results: Probe -> part ("network", "bayes", …) -> result.
        skipped: Probe -> why it does not apply.
        along: Measurements at each checkpoint, where asked for.
    """

    folder: Path
    subject: Subject
    kinds: dict[str, ProbeKind]
    results: dict[str, dict[str, Any]]
    skipped: dict[str, str] = field(default_factory=dict)
    along: Along | None = None

    def summary(self) -> dict[str, Any]:
        """Return the headline numbers of every probe, and the figures."""
        subject = self.subject
        log_snr = subject.denoiser.log_snr(torch.tensor([subject.level]))
        return {
            "folder": str(self.folder),
            "denoiser": subject.name,
            "architecture": subject.architecture,
            "step": subject.step,
            "weights": subject.config.weights if subject.run is not None else None,
            "level": {"t": subject.level, "log_snr": log_snr.item()},
            "symbols_form_at": subject.forms_at,
            "oracles": list(subject.oracles),
            "grammar_known": subject.dataset is not None,
            "inputs": subject.source,
            "regions": {
                "names": subject.regions.names,
                "parts": subject.regions.part_names,
                "boxes": subject.regions.boxes,
                "image": subject.images.image_shape[1:],
                "no_locality": subject.regions.no_locality,
            },
            "probes": {
                name: self.kinds[name].summary(result) for name, result in self.results.items()
            },
            "settings": {
                name: Setting(name, self.differs(name), subject.identity["network"])
                for name in self.results
            },
            "differs": differing(subject),
            "hash": subject.identity["network"],
            "skipped": self.skipped,
            "along": self.along.summaries() if self.along is not None else {},
            "dynamics": self.along.rows() if self.along is not None else None,
            "figures": [str(p) for p in sorted(self.folder.glob("*.png"))],
        }

    def differs(self, name: str) -> dict[str, Any]:
        """Return in what a probe's settings differ from the run's own: setting -> value."""
        return differing(self.subject, self.kinds[name])

    def called(self, name: str) -> str:
        """Return what the record of a probe is called, without its ending."""
        return name + tag(self.differs(name))

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each estimate of every probe, None where a number is not defined."""
        return [
            {"probe": name, **row}
            for name, summary in self.summary()["probes"].items()
            for row in rows_of(summary)
        ]

    def __repr__(self) -> str:
        return f"<ProbeResults of {self.subject.name}: {', '.join(self.results)}, in {self.folder}>"

    def lines(self, *only: str) -> list[str]:
        """Return what was found in words, by all probes or `only` some; ± is a 95 % interval."""
        names = [name for name in self.results if not only or name in only]
        return [
            *self._preface(),
            *(line for name in names for line in self._lines_of(name)),
            *self._afterword(),
        ]

    def _preface(self) -> list[str]:
        if self.subject.dataset is not None:
            return []
        return [f"no grammar is known: no oracle curves; inputs: {self.subject.source}"]

    def _lines_of(self, name: str) -> list[str]:
        kind = self.kinds[name]
        return kind.lines(kind.summary(self.results[name]), self.subject)

    def _afterword(self) -> list[str]:
        return [f"{name} does not apply: {why}" for name, why in self.skipped.items()]


def run_probes(
    subject: Subject,
    names: Sequence[str] | None = None,
    *,
    steps: Literal["last", "all"] = "last",
    out: Path | None = None,
    told: Callable[[list[str]], None] = lambda lines: None,
    figures: bool = True,
) -> ProbeResults:
    """Measure a subject with the named probes, write the numbers and draw the figures.

    Of each probe everything is written as soon as it is measured.

    Args:
        subject: The denoiser and what it stands beside.
        names: Of probes, or "all" for those that apply; by default the usual ones.
        steps: "all" goes along the checkpoints of the subject's run too: with the probes that are
            named, or with what is quick of the usual ones if none is; and judges samples of each.
        out: Where to write; `probes/step-…/` in the run folder by default, or `probes/NAME/` here.
        told: Called with each probe's result in words, as soon as it is there.
        figures: Whether to draw them.

    Raises:
        UsageError: If there is no such probe, or one that is named does not apply.
    """
    chosen, skipped = choose(subject, names)
    if steps == "all" and subject.sample is not None:
        raise UsageError("a sample is of one checkpoint: it cannot be followed along training")
    if steps == "all" and subject.run is None:
        raise UsageError(f"{subject.name} is not part of a run: it has no other checkpoints")
    folder = out or _default_folder(subject)
    found = ProbeResults(folder, subject, chosen, {}, skipped)
    told(found._preface())
    for name, kind in chosen.items():
        keep = keep_of_probe(kind, subject, folder / "cache")
        found.results[name] = measured(kind, subject, keep)
        write_record(folder / f"{found.called(name)}.json", numbers(found.results[name]))
        told(found._lines_of(name))
        if figures:
            draw_once(
                name,
                tag(found.differs(name)),
                folder,
                None if keep.folder is None else keep.key + subject.architecture,
                partial(kind.draw, found.results[name], subject),
            )
        _write_summary(found)
    told(found._afterword())
    if steps == "all" and subject.run is not None:
        found = replace(
            found, along=follow(subject, subject.run, chosen, folder, asked=bool(names))
        )
        _write_along(found, figures=figures)
        _write_summary(found)
    return found


def _write_summary(found: ProbeResults) -> None:
    """Write it as `called` calls what was found: other settings lie beside the run's own."""
    summary = found.summary()
    for part in ("probes", "settings", "along"):
        summary[part] = {found.called(name): value for name, value in summary[part].items()}
    if found.along is not None and (differs := _along_differs(found)):
        setting = Setting("dynamics", differs, summary["hash"])
        summary["settings"][f"dynamics{tag(differs)}"] = setting
        summary["dynamics"] = None
    write_summary(found.folder, summary)


def _along_differs(found: ProbeResults) -> dict[str, Any]:
    reads = ("sampler", "sampling", "probe.along_samples")
    each = [differing(found.subject, kind, *reads) for kind in found.kinds.values() if kind.along]
    return {key: value for differs in each for key, value in differs.items()}


def _write_along(found: ProbeResults, *, figures: bool) -> None:
    along, folder, architecture = found.along, found.folder, found.subject.architecture
    if along is None:
        return

    def draw_trend(name: str, moments: list[dict[str, Any]], where: Path) -> None:
        from diffprobe.probing.trends import draw_trends

        draw_trends(moments, where / f"along-{name}", name)

    def draw_dynamics(where: Path) -> None:
        from diffprobe.probing.along_figures import draw

        draw(along, where, architecture)

    behind, record = tag(_along_differs(found)), along.record()
    write_record(folder / f"dynamics{behind}.json", record)
    if not figures:
        return
    for name, moments in along.summaries().items():
        shows = json.dumps(plain(moments))
        draw = partial(draw_trend, name, moments)
        draw_once(f"along-{name}", tag(found.differs(name)), folder, shows, draw)
    draw_once("dynamics", behind, folder, json.dumps(plain(record)) + architecture, draw_dynamics)


def known_probes(config: Config) -> dict[str, ProbeKind]:
    """Return all probes with their settings, in the order in which they are shown."""
    found = {name: cast(ProbeKind, config.probe_settings(name)) for name in kinds.names("probe")}
    order = sorted(found, key=lambda name: (not found[name].usual, found[name].rank, name))
    return {name: found[name] for name in order}


def choose(
    subject: Subject, names: Sequence[str] | None = None
) -> tuple[dict[str, ProbeKind], dict[str, str]]:
    """Return the probes that are asked for with their settings, and which do not apply, and why.

    Args:
        subject: What they are to be measured of.
        names: Of probes, or "all" for those that apply; by default the usual ones.

    Raises:
        UsageError: If there is no such probe, one that is named does not apply, or there is no such
            region.
    """
    known = known_probes(subject.config)
    if subject.sample is not None:
        many = {name for name, kind in known.items() if not kind.one_sample}
        if refused := [name for name in names or () if name in many]:
            raise UsageError(
                f"the probe {refused[0]} looks at many images; of one sample there is "
                f"{', '.join(name for name in known if name not in many)}"
            )
        known = {name: kind for name, kind in known.items() if name not in many}
    wanted = list(dict.fromkeys(names or [n for n, kind in known.items() if kind.usual]))
    for name in wanted:
        if name not in known and name != "all":
            raise unknown_name("probe", name, [*known, "all"])
    everything = "all" in wanted
    chosen = known if everything else {name: known[name] for name in wanted}
    unfit = {name: why for name, kind in chosen.items() if (why := _unfit(kind, subject))}
    if unfit and not everything and names:
        name, why = next(iter(unfit.items()))
        raise UsageError(f"the probe {name} does not apply: {why}")
    fit = {name: kind for name, kind in chosen.items() if name not in unfit}
    if any({"probe", "probe.region"} & {*kind.reads} for kind in fit.values()):
        # Said before the first of them is measured.
        subject.regions.index(subject.config.probe.region, "probe.region")
    return fit, unfit


def _unfit(kind: ProbeKind, subject: Subject) -> str | None:
    """Return why a probe does not apply to a subject; None where it does."""
    condition = subject.config.condition
    needs_one = subject.run is not None and condition.told and not condition.drop
    if needs_one and "condition" not in kind.reads:
        return "it tells no condition, and the network knows nothing else (condition.drop = 0)"
    return kind.unfit(subject)


def _default_folder(subject: Subject) -> Path:
    if subject.run is None:
        return Path("probes") / subject.name
    return subject.run.path / "probes" / (f"step-{subject.step:06d}" if subject.step else "last")
