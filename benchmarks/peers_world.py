"""The world that other tools and diffprobe are compared in, and how their tables are printed."""

from diffprobe.datasets import Glyphs, SymbolImages
from diffprobe.datasets.grammars.parity import ParityConfig
from diffprobe.foundations.intervals import Interval
from diffprobe.foundations.records import estimate, interval
from diffprobe.models import noise_scheduler
from diffprobe.models.noise_settings import NoiseConfig
from diffprobe.models.oracles import BayesDenoiser, ProductDenoiser
from diffprobe.probing.grammar_weight import GrammarWeight

WORLD = SymbolImages(ParityConfig(6).build(), Glyphs.font("01", (8, 8)), (1, 6))
SCHEDULER = noise_scheduler(NoiseConfig(prediction_type="v_prediction"))
BAYES, PRODUCT = BayesDenoiser(WORLD, SCHEDULER), ProductDenoiser(WORLD, SCHEDULER)
LEVEL = GrammarWeight.of(BAYES, WORLD).most


def table(head: list[str], rows: list[list[str]]) -> None:
    """Print a Markdown table."""
    for cells in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(cells) + " |")
    print()


def number(found: Interval | None) -> str:
    """Return a number with its interval, where there is one."""
    return "–" if found is None or bool(found.value.isnan()) else interval(estimate(found))
