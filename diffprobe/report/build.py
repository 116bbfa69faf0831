"""A report on samples: what can be read, what is wrong, how sure that is, and files that say so.

report.json        everything, for scripts; docs/report.md describes it
samples.csv        one line per sample
summary.md         the headline numbers, to paste
report.html        one self-contained page
samples.png        the first samples with the wrong ones marked; and as .svg
distribution.png   symbols, pairs and parities beside the language; and as .svg
"""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from diffprobe import __version__
from diffprobe.datasets import Stream, SymbolImages
from diffprobe.evaluation.assessment import Assessment, assess
from diffprobe.evaluation.memorisation import Memorisation
from diffprobe.evaluation.verdicts import Verdicts
from diffprobe.foundations.atomic import write_text
from diffprobe.foundations.records import plain, write_record
from diffprobe.foundations.tables import Table
from diffprobe.report import distribution_figures, sheet
from diffprobe.report.export import markdown, write_verdicts
from diffprobe.report.findings import findings
from diffprobe.report.page import Figure, Gallery, explorer_data, render

SCHEMA = "diffprobe-report/2"

DISTRIBUTION = (
    "How far each symbol's share in each cell is from the language's; how much two cells tell of "
    "each other; and for two symbols the correlations of all orders."
)

LOSSES = (
    "The training: its loss, the validation loss of each set of weights, the same by noise level "
    "(t as a share of all levels), and the learning rate. Triangles are checkpoints."
)

# Figures of the probes that the page shows, and what they are.
PROBE_FIGURES = {
    "dynamics": "Along training: LDR and gamma where the grammar lives, legible and grammatical "
    "rates of samples. Bars are 95 % intervals.",
    "ldr": "Local dependency ratio over noise levels, noisy images at the left: the network, the "
    "exact optimum, and the optimum that ignores the grammar. Below, the network's excess over "
    "the optimum. Bands are 95 % intervals.",
    "placement": "How much of the grammar the network uses (gamma: 0 local, 1 optimal), over the "
    "noise levels where the grammar is worth something (shaded).",
    "dependence": "Which input cell (column) each output cell (row) listens to, network above "
    "and Bayes optimum below, at high noise, where the grammar is worth most, and at low noise.",
    "attribution": "Where one cell's output (outlined) comes from, by several attribution methods, "
    "network and Bayes optimum.",
    "attribution-truth": "Which attribution method tells the truth: rank correlation of its map of "
    "the exact optimum, by cell, with the exact effect of redrawing a cell. Bars are 95 % "
    "intervals.",
    "intervention": "What changes in which output region (row) when one region of the input "
    "(column) is changed: by the Jacobian, by other noise, by another symbol.",
    "detectors": "Can hallucinated samples be told from valid ones? Area under the ROC curve of "
    "each score, chance 0.5. Bars are 95 % intervals.",
    "hidden-states": "What linear probes of the layers know of words they have not seen, at each "
    "noise level, beside untrained networks (grey), the exact optimum and one half.",
}


@dataclass(frozen=True, repr=False)
class Report(Table):
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

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each rate of the samples."""
        return self.assessment.rows()

    def __repr__(self) -> str:
        return f"<Report on {len(self.verdicts.words):,} samples in {self.folder}>"


def report_samples(
    images: Tensor,
    dataset: SymbolImages,
    out: str | Path,
    *,
    title: str = "samples",
    details: dict[str, Any] | None = None,
    probes: Path | None = None,
    losses: Path | None = None,
    stream: Stream | None = None,
    seed: int = 0,
) -> Report:
    """Judge samples and write the report.

    Args:
        images: (N, 1, H, W) float in [-1, 1].
        dataset: Whose glyphs and grammar to judge by.
        out: Folder to write to.
        title, details, probes, losses: As for `write_report`.
        stream: A finite training set to compare the samples with.
        seed: Of everything that is drawn to compare with.

    Raises:
        UsageError: If there are no images, they do not fit the dataset, or are not in [-1, 1].
    """
    assessment = assess(images, dataset, stream, seed)
    return write_report(
        assessment,
        images,
        dataset,
        out,
        title=title,
        details=details,
        probes=probes,
        losses=losses,
    )


def write_report(
    assessment: Assessment,
    images: Tensor,
    dataset: SymbolImages,
    out: str | Path,
    *,
    title: str = "samples",
    details: dict[str, Any] | None = None,
    probes: Path | None = None,
    losses: Path | None = None,
) -> Report:
    """Write the report on samples that are judged.

    Args:
        assessment: Of the images.
        images: (N, 1, H, W), the samples, for the pictures.
        dataset: Whose symbols and grid they have.
        out: Folder to write to.
        title: What the samples are called on the page.
        details: More to store and show, such as the resolved sampler.
        probes: The folder of a checkpoint's probes, whose figures the page shows; its explorer
            goes through the folders beside it, too.
        losses: The figure of the training, as `draw_losses` returns it.
    """
    verdicts, folder, names = assessment.verdicts, Path(out), dataset.glyphs.names
    content = plain(
        {
            "schema": SCHEMA,
            "diffprobe": __version__,
            "title": title,
            **assessment.summary(names),
            "findings": findings(assessment, names),
            "details": details or {},
        }
    )
    write_record(folder / "report.json", content, schema=SCHEMA)
    write_verdicts(folder / "samples.csv", verdicts, names)
    write_text(folder / "summary.md", markdown(content))
    sheet.draw(folder / "samples", dataset, images, verdicts)
    if assessment.distribution:
        distribution_figures.draw(assessment.distribution, folder / "distribution", names)
    page = render(
        content,
        Gallery.of(images, verdicts, dataset),
        None if probes is None else explorer_data(probes.parent),
        _figures(folder, assessment, probes, losses),
    )
    write_text(folder / "report.html", page)
    return Report(assessment, content, folder)


def _figures(
    folder: Path, assessment: Assessment, probes: Path | None, losses: Path | None
) -> list[Figure]:
    shown = {folder / "distribution": DISTRIBUTION} if assessment.distribution else {}
    if probes is not None:
        shown |= {probes / name: caption for name, caption in PROBE_FIGURES.items()}
    if losses is not None:
        shown[losses] = LOSSES
    return [
        Figure(name=path.name, caption=caption, source=_embed(path.with_suffix(".png")))
        for path, caption in shown.items()
        if path.with_suffix(".png").exists()
    ]


def _embed(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
