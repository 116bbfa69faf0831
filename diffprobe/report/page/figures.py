"""The figures on the page: as SVG, sharp at any size, in the colours of the reader's theme."""

import base64
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diffprobe.foundations.figures import DARK

logger = logging.getLogger(__name__)

# Figures of the page: name -> what is drawn, and what it shows.
CAPTIONS: dict[str, tuple[str, str]] = {
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
    "ldr": (
        "Local dependency ratio over noise levels",
        "Noisy images are at the left. The network, the exact optimum, and the optimum that "
        "ignores the grammar; below, the network’s excess over the optimum. Bands are 95 % "
        "intervals.",
    ),
    "placement": (
        "Gamma over noise levels",
        "How much of the grammar the network uses (gamma: 0 local, 1 optimal), over the noise "
        "levels where the grammar is worth something (shaded).",
    ),
    "conditional-information": (
        "What far cells tell",
        "Above, the information on a cell that only cells beyond a radius have, by the exact "
        "recursion of the grammar. Below, how far the network is from the best denoiser of each "
        "radius and from the Bayes optimum. Bands are 95 % intervals.",
    ),
    "dependence": (
        "Who listens to whom",
        "Which input cell (column) each output cell (row) listens to, network above and Bayes "
        "optimum below, from high noise to low.",
    ),
    "attribution": (
        "Where one cell’s output comes from",
        "By several attribution methods, network and Bayes optimum; the cell is outlined.",
    ),
    "attribution-truth": (
        "Which attribution method tells the truth",
        "Rank correlation of its map of the exact optimum, by cell, with the exact effect of "
        "redrawing a cell. Bars are 95 % intervals.",
    ),
    "intervention": (
        "Where a change goes",
        "What changes in which output region (row) when one region of the input (column) is "
        "changed: by the Jacobian, by other noise, by another symbol.",
    ),
    "detectors": (
        "Can hallucinated samples be told from valid ones?",
        "Area under the ROC curve of each score, chance 0.5. Bars are 95 % intervals.",
    ),
    "detectors-by-verdict": (
        "Were hallucinated samples made otherwise than valid ones?",
        "Excess LDR at each sample’s own input, and by how much invalid samples differ from valid "
        "ones. Bars are 95 % intervals over samples.",
    ),
    "hidden-states": (
        "What the layers know",
        "Accuracy of linear probes on words they have not seen, at each noise level, beside "
        "untrained networks (grey), the exact optimum and one half.",
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
    def of(cls, path: Path, name: str, settings: str = "") -> "Figure":
        """Read a stored figure.

        Args:
            path: With the ending .svg.
            name: Which of those that have a caption it is.
            settings: In words, where they are not the run's own.

        Raises:
            ValueError: If it is damaged.
        """
        title, caption = CAPTIONS[name]
        told = f" Here with {settings}." if settings else ""
        return cls.read(path, title, caption + told)

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
    """Return the figures of a folder of probes that the page shows, in its order.

    One that is damaged is left out with a warning.

    Args:
        folder: Of a checkpoint's probes.
        settings: Under which other settings than its own it was probed: what is put behind the
            names of their figures -> the settings in words.
    """
    found = []
    for behind, words in {"": "", **(settings or {})}.items():
        for name in CAPTIONS:
            path = folder / f"{name}{behind}.svg"
            if not path.exists():
                continue
            try:
                found.append(Figure.of(path, name, words))
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
