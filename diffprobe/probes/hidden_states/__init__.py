"""Hidden states: what the layers know, beside untrained ones and random labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.settings import check_at_least
from diffprobe.probing.contract import NO_GRAMMAR, Caption, ProbeKind

if TYPE_CHECKING:
    from diffprobe.probes.hidden_states.answering import HiddenStates
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject

# Images below which there is nothing to train on.
FEWEST = 20


@dataclass(frozen=True)
class HiddenStatesConfig(ProbeKind):
    """Do the layers know what the output ignores, beside untrained ones.

    `layers` are named as PyTorch names modules (`:in` behind it: what the module is given), and the
    network's blocks by default; of `images` and of `samples` half are for testing, and `controls`
    untrained networks and random labellings are what layers are judged against.
    """

    name: ClassVar[str] = "hidden-states"
    rank: ClassVar[int] = 7
    reads: ClassVar[tuple[str, ...]] = ("probe.batch_size", "probe.seed", "sampler", "sampling")
    captions: ClassVar[Mapping[str, Caption]] = {
        "hidden-states": (
            "What the layers know",
            "Accuracy of linear probes on words they have not seen, at each noise level, beside "
            "untrained networks (grey), the exact optimum and one half.",
        ),
    }

    layers: tuple[str, ...] = field(
        default=(), metadata={"help": "Names of modules; the network's blocks if none is given."}
    )
    levels: int = field(default=7, metadata={"help": "Noise levels."})
    images: int = field(default=4096, metadata={"help": "Noisy images of words."})
    samples: int = field(default=1024, metadata={"help": "Samples of the network."})
    features: int = field(default=1024, metadata={"help": "At most so many numbers a layer."})
    controls: int = field(
        default=3, metadata={"help": "Untrained networks, and random labellings."}
    )

    def __post_init__(self) -> None:
        check_at_least(3, "probes.hidden-states", levels=self.levels)
        check_at_least(FEWEST, "probes.hidden-states", images=self.images, samples=self.samples)
        check_at_least(1, "probes.hidden-states", features=self.features, controls=self.controls)

    def unfit(self, subject: "Subject") -> str | None:
        """Layers are asked about a grammar."""
        return NO_GRAMMAR if subject.dataset is None else None

    def measure(self, subject: "Subject", keep: "Keep") -> "dict[str, HiddenStates]":
        """Put both questions to the network."""
        from diffprobe.probes.hidden_states.questions import measure_both

        return measure_both(self, subject, keep)

    def summary(self, results: "Mapping[str, HiddenStates]") -> dict[str, Any]:
        """Return what the best layer tells of each question where the answer is all but certain."""
        from diffprobe.probes.hidden_states.words import summary

        return summary(results)

    def lines(self, summary: Mapping[str, Any], subject: "Subject") -> list[str]:
        """Return the summary in words."""
        from diffprobe.probes.hidden_states.words import lines

        return lines(summary)

    def draw(self, results: "Mapping[str, HiddenStates]", subject: "Subject", folder: Path) -> None:
        """Draw the accuracies of both questions side by side."""
        from diffprobe.probes.hidden_states.figures import draw

        draw(results, folder)
