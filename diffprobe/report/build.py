"""A report on samples: what can be read, what is wrong, how sure that is, and files that say so.

report.json        everything, for scripts; docs/report.md describes it
samples.csv        one line per sample
summary.md         the headline numbers, to paste
report.html        one self-contained page
samples.png        the first samples with the wrong ones marked; and as .svg
distribution.png   symbols, pairs and parities beside the language; and as .svg
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffprobe import __version__
from diffprobe.datasets import Stream, SymbolImages
from diffprobe.datasets.condition import Conditions
from diffprobe.datasets.stored_images import Pictures
from diffprobe.evaluation.assessment import Assessment, assess
from diffprobe.evaluation.memorisation import Memorisation
from diffprobe.evaluation.validator import Validator
from diffprobe.evaluation.verdicts import Verdicts
from diffprobe.foundations.atomic import write_text
from diffprobe.foundations.records import plain, write_record
from diffprobe.foundations.tables import Table
from diffprobe.probing.summaries import other_settings
from diffprobe.report import distribution_figures, sheet
from diffprobe.report.export import markdown, write_verdicts
from diffprobe.report.findings import findings
from diffprobe.report.page import Figure, Gallery, explorer_data, figures_in, render
from diffprobe.report.story import read_story
from diffprobe.sampling.samples import Images, Samples, as_pictures

SCHEMA = "diffprobe-report/2"


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
    images: Images,
    dataset: SymbolImages,
    out: str | Path,
    *,
    title: str = "samples",
    details: dict[str, Any] | None = None,
    probes: Path | None = None,
    notes: Sequence[str] = (),
    losses: Path | None = None,
    stream: Stream | None = None,
    seed: int = 0,
    validator: Validator | Callable[[Any], Any] | str | None = None,
    conditions: Conditions | None = None,
) -> Report:
    """Judge samples and write the report.

    Args:
        images: N samples, as `as_pictures` takes them.
        dataset: Whose glyphs and grammar to judge by.
        out: Folder to write to.
        title, details, probes, notes, losses: As for `write_report`.
        stream: A finite training set to compare the samples with.
        seed: Of everything that is drawn to compare with.
        validator: A checker of your own, to stand beside the grammar; see `evaluation.validator`.
        conditions: What can be told of the dataset's words, where samples were told something.

    Raises:
        UsageError: If there are no images, or they or the validator do not fit the dataset.
        ValidatorError: If the validator raises an error.
    """
    samples = as_pictures(images, dataset)
    if samples.files:
        details = {**(details or {}), "files": samples.files}
    return write_report(
        assess(samples, dataset, stream, seed, validator=validator, conditions=conditions),
        samples.images,
        dataset,
        out,
        title=title,
        details=details,
        probes=probes,
        notes=notes,
        losses=losses,
    )


def write_report(
    assessment: Assessment,
    images: Pictures,
    dataset: SymbolImages,
    out: str | Path,
    *,
    title: str = "samples",
    details: dict[str, Any] | None = None,
    probes: Path | None = None,
    notes: Sequence[str] = (),
    losses: Path | None = None,
) -> Report:
    """Write the report on samples that are judged.

    Args:
        assessment: Of the images.
        images: (N, C, H, W), the samples, for the pictures.
        dataset: Whose symbols and grid they have.
        out: Folder to write to.
        title: What the samples are called on the page.
        details: More to store and show, such as the resolved sampler.
        probes: The folder of a checkpoint's probes, whose figures the page shows; its explorer
            goes through the folders beside it, too.
        notes: Sentences about what is reported, to begin the findings with.
        losses: The figure of the training, as `draw_losses` returns it.
    """
    images, dataset = as_pictures(Samples(images, {}), dataset).images, dataset.plain
    verdicts, folder, names = assessment.verdicts, Path(out), dataset.glyphs.names
    story = read_story(probes) if probes is not None else None
    content = plain(
        {
            "schema": SCHEMA,
            "diffprobe": __version__,
            "title": title,
            **assessment.summary(names),
            "listening": story.summary() if story is not None else None,
            "findings": [
                *notes,
                *findings(assessment, names),
                *(story.findings() if story is not None else []),
            ],
            "details": details or {},
        }
    )
    write_record(folder / "report.json", content, schema=SCHEMA)
    write_verdicts(folder / "samples.csv", verdicts, names, assessment.checked)
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
    shown = []
    if assessment.distribution:
        shown.append(Figure.of(folder / "distribution.svg", "distribution"))
    if probes is not None:
        shown += figures_in(probes, other_settings(probes))
    if losses is not None:
        shown.append(Figure.of(losses.with_suffix(".svg"), "losses"))
    return shown
