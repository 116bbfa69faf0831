"""The figures on the page: as SVG, sharp at any size, in the colours of the reader's theme."""

import base64
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diffprobe.config import Config
from diffprobe.foundations.figures import DARK
from diffprobe.probing.contract import Caption

logger = logging.getLogger(__name__)

# Of the figures that are no probe's, name -> title and caption; a probe brings those of its own.
CAPTIONS: dict[str, Caption] = {
    "distribution": (
        "Symbols, pairs and interactions beside the language",
        "How far each symbol’s share in each cell is from the language’s; how much two cells tell "
        "of each other; and for two symbols the correlations of all orders.",
    ),
    "losses": (
        "The training",
        "Its loss, the validation loss of each set of weights, the same by noise level (t as a "
        "share of all levels), and the learning rate. Triangles are checkpoints.",
    ),
    "dynamics": (
        "Along training",
        "LDR and gamma where the grammar lives, legible and grammatical rates of samples. Bars are "
        "95 % intervals.",
    ),
}

# As wide as matplotlib's own, which the places of text were computed with.
FONTS = "font-family: 'DejaVu Sans', Verdana, sans-serif"
_PIXELS = 96 / 72  # of CSS, in a point


@dataclass(frozen=True)
class Figure:
    """A picture for the page.

    Attributes:
        title, caption: What it shows.
        source: The picture as a data URI.
        width, height: In CSS pixels, at which its text is as large as it was drawn.
    """

    title: str
    caption: str
    source: str
    width: int
    height: int

    @classmethod
    def of(cls, path: Path, name: str) -> "Figure":
        """Read a stored figure that is no probe's.

        Args:
            path: With the ending .svg.
            name: Which of `CAPTIONS` it is.

        Raises:
            ValueError: If it is damaged.
        """
        return cls.read(path, *CAPTIONS[name])

    @classmethod
    def read(cls, path: Path, title: str, caption: str) -> "Figure":
        """Read a stored figure that is described here.

        Raises:
            ValueError: If it is damaged.
        """
        text = path.read_text("utf-8")
        width, height = (
            round(_PIXELS * float(points))
            for points in re.findall(r'(?:width|height)="([\d.]+)pt"', text[:2000])[:2]
        )
        return cls(title, caption, _embedded(text), width, height)


def figures_in(folder: Path, settings: Mapping[str, str] | None = None) -> list[Figure]:
    """Return the figures of a folder of probes that have captions, in the order of the probes.

    One that is damaged is left out with a warning.

    Args:
        folder: Of a checkpoint's probes.
        settings: Under which other settings than its own it was probed: what is put behind the
            names of their figures -> the settings in words.
    """
    from diffprobe.probing.suite import known_probes

    captions = {"dynamics": CAPTIONS["dynamics"]}
    for probe in known_probes(Config()).values():
        captions |= probe.captions
    found = []
    for behind, words in {"": "", **(settings or {})}.items():
        told = f" Here with {words}." if words else ""
        for name, (title, caption) in captions.items():
            path = folder / f"{name}{behind}.svg"
            if not path.exists():
                continue
            try:
                found.append(Figure.read(path, title, caption + told))
            except ValueError:
                logger.warning("%s is damaged and left out; diffprobe probe draws it again", path)
    return found


def themed(svg: str) -> str:
    """Return a figure of matplotlib's that is light on dark where the reader prefers that.

    The stored file is left as it is, for papers. Maps are pictures in it and stay as they are.
    """
    rules = "".join(
        f'[style*="{role}: {light}"]{{{role}:{dark}!important}}'
        for light, dark in DARK.items()
        for role in ("fill", "stroke")
    )
    # Black is what matplotlib does not name.
    rules = f"@media(prefers-color-scheme:dark){{svg{{fill:{DARK['#000000']}}}{rules}}}"
    return svg.replace("<defs>", f"<defs><style>{rules}</style></defs><defs>", 1)


def _embedded(svg: str) -> str:
    """A data URI, without what is not drawn."""
    drawn = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    drawn = re.sub(r"font-family: [^;\"]*", FONTS, re.sub(r"\s*\n\s*", " ", drawn))
    return "data:image/svg+xml;base64," + base64.b64encode(themed(drawn).encode()).decode()
