"""A report on samples: what can be read, what is wrong, how sure that is, and files that say so.

report.json    everything, for scripts; docs/report.md describes it
samples.csv    one line per sample
summary.md     the headline numbers, to paste
report.html    one self-contained page
samples.png    a picture of the first samples with the wrong ones marked, and as .svg
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from torch import Tensor

from diffprobe import __version__
from diffprobe.atomic import write_text
from diffprobe.datasets import SymbolImages, WordSplit
from diffprobe.memorisation import Memorisation
from diffprobe.reading import Corrected
from diffprobe.records import plain, write_record
from diffprobe.report.assessment import Assessment, assess
from diffprobe.report.export import markdown, write_verdicts
from diffprobe.report.findings import findings
from diffprobe.report.sheet import draw_sheet
from diffprobe.statistics import Rate, wilson
from diffprobe.verdicts import Verdicts
from diffprobe.violations import Pair, Violations

SCHEMA = "diffprobe-report/2"

# Figures of the probes that the page shows, and what they are.
PROBE_FIGURES = {
    "dynamics": "Along training: LDR and gamma where the grammar lives, legible and grammatical "
    "rates of samples. Bars are 95 % intervals.",
    "ldr": "Local dependency ratio over noise levels, noisy images at the left: the network, the "
    "exact optimum, and the optimum that ignores the grammar. Below, the network's excess over "
    "the optimum. Bands are ±1.96 standard errors.",
    "placement": "How much of the grammar the network uses (gamma: 0 local, 1 optimal), over the "
    "noise levels where the grammar is worth something (shaded).",
    "dependence": "Which input cell (column) each output cell (row) listens to, network above "
    "and Bayes optimum below, at high noise, where the grammar is worth most, and at low noise.",
    "attribution": "Integrated gradients of one cell's output (outlined) over the noisy image.",
}


@dataclass(frozen=True)
class Report:
    """An assessment and the files it is written to.

    Attributes:
        assessment: Of the samples.
        content: What report.json holds.
        folder: Holds the files.
    """

    assessment: Assessment
    content: dict[str, Any]
    folder: Path

    @property
    def verdicts(self) -> Verdicts:
        """Of the samples."""
        return self.assessment.verdicts

    @property
    def memorisation(self) -> Memorisation | None:
        """The samples beside the training set; None without a finite one."""
        return self.assessment.memorisation

    @property
    def page(self) -> Path:
        """The self-contained HTML page."""
        return self.folder / "report.html"


def report_samples(
    images: Tensor,
    dataset: SymbolImages,
    out: str | Path,
    *,
    title: str = "samples",
    details: dict[str, Any] | None = None,
    probes: Path | None = None,
    split: WordSplit | None = None,
    seed: int = 0,
) -> Report:
    """Judge samples and write the report.

    Args:
        images: (N, 1, H, W) float in [-1, 1].
        dataset: Whose glyphs and grammar to judge by.
        out: Folder to write to.
        title: What the samples are called on the page.
        details: More to store and show, such as the resolved sampler.
        probes: A folder of probe figures to show on the page.
        split: A finite training set to compare the samples with.
        seed: Of everything that is drawn to compare with.

    Raises:
        UsageError: If there are no images, they do not fit the dataset, or are not in [-1, 1].
    """
    assessment = assess(images, dataset, split, seed)
    verdicts, folder = assessment.verdicts, Path(out)
    content = plain(
        {
            "schema": SCHEMA,
            "diffprobe": __version__,
            "title": title,
            **_describe(assessment, dataset.glyphs.names),
            "findings": findings(assessment, dataset.glyphs.names),
            "details": details or {},
        }
    )
    write_record(folder / "report.json", content)
    write_verdicts(folder / "samples.csv", verdicts, dataset.glyphs.names)
    write_text(folder / "summary.md", markdown(content))
    draw_sheet(folder / "samples", dataset, images, verdicts)
    write_text(folder / "report.html", _page(content, verdicts, folder, probes))
    return Report(assessment, content, folder)


def _describe(assessment: Assessment, names: tuple[str, ...]) -> dict[str, Any]:
    verdicts, broken = assessment.verdicts, assessment.broken
    recall = assessment.memorisation
    every = (broken, *assessment.chance.values())

    def pairs(found: tuple[Pair, ...], name: str, names: Any) -> list[dict[str, Any]]:
        return [{name: [names[p.first], names[p.second]], **plain(p.rate)} for p in found]

    return {
        **verdicts.summary(),
        "grammatical": {
            **plain(verdicts.grammatical_rate),
            "corrected": assessment.grammatical,
        },
        "invalid": {
            **plain(broken.invalid),
            "corrected": _complement(assessment.grammatical),
        },
        "violations": {
            kind: {
                **plain(rate),
                "corrected": assessment.kinds[kind],
                "chance": {name: chance.kinds[kind] for name, chance in assessment.chance.items()},
            }
            for kind, rate in broken.kinds.items()
        },
        "positions": [
            {
                **plain(rate),
                "chance": {n: c.positions[cell] for n, c in assessment.chance.items()},
            }
            for cell, rate in enumerate(broken.positions)
        ],
        "distances": {
            d: {
                **plain(_at(broken, d)),
                "chance": {n: _at(c, d) for n, c in assessment.chance.items()},
            }
            for d in range(1, 1 + max(max(v.distances, default=0) for v in every))
        },
        "substitutions": [
            {"read": names[p.first], "nearest": names[p.second], **plain(p.rate)}
            for p in broken.substitutions
        ],
        "pairs": {
            "paired": {
                **plain(broken.paired),
                "chance": {n: c.paired for n, c in assessment.chance.items()},
            },
            "cells": pairs(broken.cells, "cells", range(len(broken.positions))),
            "symbols": pairs(broken.symbols, "symbols", names),
        },
        "unreadable": _unreadable(verdicts, names),
        "memorisation": recall.summary() if recall else None,
        "reading": {**assessment.calibration.summary(), "symbols": names},
    }


def _complement(rate: Corrected) -> Corrected:
    value = None if rate.value is None else 1 - rate.value
    return Corrected(value, 1 - rate.high, 1 - rate.low)


def _at(found: Violations, distance: int) -> Rate:
    return found.distances.get(distance, wilson(0, found.invalid.n))


def _unreadable(verdicts: Verdicts, names: tuple[str, ...]) -> Mapping[str, Any]:
    """Where cells cannot be read, and what they would be read as."""
    refused = ~verdicts.legible_cells
    guessed = verdicts.words.flatten().bincount(minlength=len(names)).tolist()
    among = verdicts.words[refused].bincount(minlength=len(names)).tolist()
    return {
        "positions": [wilson(count, len(refused)) for count in refused.sum(0).tolist()],
        "symbols": {
            name: wilson(count, n) for name, count, n in zip(names, among, guessed, strict=True)
        },
    }


def _page(content: dict[str, Any], verdicts: Verdicts, folder: Path, probes: Path | None) -> str:
    template = (files("diffprobe") / "report" / "page.html").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    figures = []
    for name, caption in PROBE_FIGURES.items() if probes else ():
        path = (probes or Path()) / f"{name}.png"
        if path.exists():
            figures.append({"name": name, "caption": caption, "source": _embed(path)})
    return environment.from_string(template).render(
        title=content["title"],
        findings=content["findings"],
        legible=verdicts.legible_rate,
        grammatical=verdicts.grammatical_rate,
        uniform_rate=verdicts.uniform_rate,
        product_rate=verdicts.product_rate,
        violations=verdicts.violation_rates(),
        memorisation=content["memorisation"],
        sheet=_embed(folder / "samples.png"),
        figures=figures,
        details=json.dumps(content["details"], indent=2),
        version=__version__,
    )


def _embed(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
