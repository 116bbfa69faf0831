"""The probes of one denoiser, beside the oracles: numbers as JSON, figures, and what is kept.

FOLDER/summary.json         the headline numbers of every probe
FOLDER/NAME.json            the numbers of the probe NAME
FOLDER/*.png, *.svg         figures
FOLDER/cache/               everything measured, so that it need not be measured again
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch

from diffprobe.config import Config
from diffprobe.foundations import kinds
from diffprobe.foundations.errors import UsageError, unknown_name
from diffprobe.foundations.records import write_record
from diffprobe.foundations.tables import Table
from diffprobe.probing import along_figures
from diffprobe.probing.along import Along, follow
from diffprobe.probing.contract import ProbeKind
from diffprobe.probing.headlines import rows_of
from diffprobe.probing.measuring import measured, numbers
from diffprobe.probing.subject import Subject
from diffprobe.probing.trends import draw_trends


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
            "skipped": self.skipped,
            "along": self.along.summaries() if self.along is not None else {},
            "dynamics": self.along.rows() if self.along is not None else None,
            "figures": [str(p) for p in sorted(self.folder.glob("*.png"))],
        }

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
        found = []
        if self.subject.dataset is None:
            found.append(f"no grammar is known: no oracle curves; inputs: {self.subject.source}")
        for name, result in self.results.items():
            if not only or name in only:
                kind = self.kinds[name]
                found += kind.lines(kind.summary(result), self.subject)
        found += [f"{name} does not apply: {why}" for name, why in self.skipped.items()]
        return found


def run_probes(
    subject: Subject,
    names: Sequence[str] | None = None,
    *,
    steps: Literal["last", "all"] = "last",
    out: Path | None = None,
) -> ProbeResults:
    """Measure a subject with the named probes, write the numbers and draw the figures.

    Args:
        subject: The denoiser and what it stands beside.
        names: Of probes, or "all" for those that apply; by default the usual ones.
        steps: "all" goes along the checkpoints of the subject's run too: with the probes that are
            named, or with what is quick of the usual ones if none is; and judges samples of each.
        out: Where to write; `probes/step-…/` in the run folder by default, or `probes/NAME/` here.

    Raises:
        UsageError: If there is no such probe, or one that is named does not apply.
    """
    chosen, skipped = choose(subject, names)
    folder = out or _default_folder(subject)
    results = {name: measured(kind, subject, folder / "cache") for name, kind in chosen.items()}
    along = None
    if steps == "all":
        if subject.run is None:
            raise UsageError(f"{subject.name} is not part of a run: it has no other checkpoints")
        along = follow(subject, subject.run, chosen, folder, asked=bool(names))
    found = ProbeResults(folder, subject, chosen, results, skipped, along)
    for name, result in results.items():
        write_record(folder / f"{name}.json", numbers(result))
        chosen[name].draw(result, subject, folder)
    if along is not None:
        for name, moments in along.summaries().items():
            draw_trends(moments, folder / f"along-{name}", name)
        write_record(folder / "dynamics.json", along.record())
        along_figures.draw(along, folder, subject.architecture)
    write_record(folder / "summary.json", found.summary())
    return found


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
        UsageError: If there is no such probe, or one that is named does not apply.
    """
    known = known_probes(subject.config)
    wanted = list(dict.fromkeys(names or [n for n, kind in known.items() if kind.usual]))
    for name in wanted:
        if name not in known and name != "all":
            raise unknown_name("probe", name, [*known, "all"])
    everything = "all" in wanted
    chosen = known if everything else {name: known[name] for name in wanted}
    unfit = {name: why for name, kind in chosen.items() if (why := kind.unfit(subject))}
    if unfit and not everything and names:
        name, why = next(iter(unfit.items()))
        raise UsageError(f"the probe {name} does not apply: {why}")
    return {name: kind for name, kind in chosen.items() if name not in unfit}, unfit


def _default_folder(subject: Subject) -> Path:
    if subject.run is None:
        return Path("probes") / subject.name
    return subject.run.path / "probes" / (f"step-{subject.step:06d}" if subject.step else "last")
