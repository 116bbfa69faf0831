"""A report on samples: verdicts as JSON, a marked picture, and one self-contained page."""

import base64
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from torch import Tensor

from diffprobe import __version__, memorisation
from diffprobe.atomic import write_text
from diffprobe.datasets import SymbolImages, WordSplit
from diffprobe.records import write_record
from diffprobe.report.findings import findings
from diffprobe.report.sheet import draw_sheet
from diffprobe.verdicts import Verdicts, judge

SCHEMA = "diffprobe-report/1"

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
    """Verdicts and the files they are written to.

    Attributes:
        verdicts: Of the samples.
        memorisation: The samples beside the training set; None without a finite one.
        folder: Holds report.json, report.html and samples.png.
    """

    verdicts: Verdicts
    memorisation: memorisation.Memorisation | None
    folder: Path

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

    Raises:
        UsageError: If the images do not fit the dataset.
    """
    verdicts = judge(dataset, images)
    recall = (
        memorisation.measure(dataset, split, images, verdicts)
        if split is not None and split.training is not None
        else None
    )
    folder = Path(out)
    content = {
        "schema": SCHEMA,
        "diffprobe": __version__,
        "title": title,
        **verdicts.summary(),
        "memorisation": recall.summary() if recall else None,
        "findings": findings(verdicts, recall),
        "details": details or {},
    }
    write_record(folder / "report.json", content)
    draw_sheet(folder / "samples", dataset, images, verdicts)
    write_text(folder / "report.html", _page(content, verdicts, folder, probes))
    return Report(verdicts, recall, folder)


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
