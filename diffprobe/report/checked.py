"""A report on images of which no grammar is known: what a validator of the user's own finds.

report.json    the rates, for scripts; docs/report.md describes it
samples.csv    one line per sample
summary.md     the rates, to paste
report.html    one self-contained page, with samples of each kind
"""

import base64
import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from diffprobe import __version__
from diffprobe.datasets.stored_images import Pictures
from diffprobe.evaluation.broken import Broken
from diffprobe.evaluation.validator import Checked, Validator, check
from diffprobe.foundations.atomic import write_text
from diffprobe.foundations.records import plain, write_record
from diffprobe.foundations.tables import Table
from diffprobe.report.export import checked_markdown
from diffprobe.report.page import Framed
from diffprobe.report.page.checked import Example, render_checked
from diffprobe.sampling.samples import Images, as_samples

SCHEMA = "diffprobe-checked/1"
SHOWN = 24  # samples of a kind on the page
COLUMNS = 8
LEAST_WIDTH = 120  # pixels of a sample on the page


@dataclass(frozen=True, repr=False)
class CheckedReport(Framed, Table):
    """What a validator found, and the files it is written to.

    Attributes:
        checked: The finding for each sample.
        content: What report.json holds.
        folder: Holds the files.
    """

    checked: Checked
    content: dict[str, Any]
    folder: Path

    @property
    def page(self) -> Path:
        """The self-contained HTML page."""
        return self.folder / "report.html"

    def framed(self) -> str:
        """Return the page for a notebook."""
        return self.page.read_text("utf-8")

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for any violation, and one for each kind."""
        return self.checked.rows()

    def __repr__(self) -> str:
        return f"<CheckedReport on {len(self.checked.asked):,} samples in {self.folder}>"


def report_checked(
    images: Images,
    validator: Validator | Callable[[Any], Any] | str,
    out: str | Path,
    *,
    title: str = "samples",
) -> CheckedReport:
    """Show images to a validator and write the report.

    Args:
        images: N samples, as `as_samples` takes them.
        validator: Of images: a function, or its name `module:function`.
        out: Folder to write to.
        title: What the samples are called on the page.

    Raises:
        UsageError: If there are no images, or the validator does not fit.
        ValidatorError: If the validator raises an error.
    """
    samples, folder = as_samples(images), Path(out)
    checked = check(samples, validator)
    broken = Broken.of(samples.images)
    content = plain(
        {
            "schema": SCHEMA,
            "diffprobe": __version__,
            "title": title,
            "samples": len(samples.images),
            **broken.summary(),
            "validator": checked.summary(),
            "findings": [*samples.notes, *broken.lines("are left out"), *checked.lines()],
            "files": samples.files,
        }
    )
    write_record(folder / "report.json", content, schema=SCHEMA)
    write_text(folder / "samples.csv", _table(checked, samples.files))
    write_text(folder / "summary.md", checked_markdown(content))
    shown = {**checked.kinds, "no fault": checked.asked & ~checked.wrong}
    examples = [_example(kind, found, samples.images) for kind, found in shown.items()]
    write_text(folder / "report.html", render_checked(content, [e for e in examples if e]))
    return CheckedReport(checked, content, folder)


def _table(checked: Checked, files: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("sample", "file", "asked", "kinds"))
    for sample, asked in enumerate(checked.asked.tolist()):
        kinds = "; ".join(kind for kind, found in checked.kinds.items() if found[sample])
        file = files[sample] if files else ""
        writer.writerow((sample, file, "yes" if asked else "no", kinds))
    return text.getvalue()


def _example(kind: str, found: Tensor, images: Pictures) -> Example | None:
    """The first samples of a kind, side by side as a PNG."""
    indices = found.nonzero()[:SHOWN, 0]
    if len(indices) == 0:
        return None
    columns = min(COLUMNS, len(indices))
    rows = -(-len(indices) // columns)
    chosen = images[indices].cpu()[:, : 3 if images.shape[1] >= 3 else 1].clamp(-1, 1)
    # A frame of one pixel tells them apart; what the last row lacks is frame.
    framed = pad((chosen + 1) / 2, (1, 1, 1, 1), value=0.5)
    missing = torch.full((rows * columns - len(framed), *framed.shape[1:]), 0.5)
    tiled = rearrange(torch.cat([framed, missing]), "(r k) c h w -> (r h) (k w) c", k=columns)
    file = io.BytesIO()
    values = (tiled * 255).round().numpy().astype(np.uint8)
    Image.fromarray(values[..., 0] if values.shape[2] == 1 else values).save(file, "png")
    source = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    width = columns * max(framed.shape[-1], LEAST_WIDTH)
    return Example(kind=kind, samples=indices.tolist(), source=source, width=width)
