"""What a probe is: settings, whether it applies, and what is measured, told and drawn."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.kinds import Kind

if TYPE_CHECKING:
    from diffprobe.probing.cache import Keep
    from diffprobe.probing.subject import Subject

Caption = tuple[str, str]  # a figure's title, and what it shows in a sentence or two

NO_GRAMMAR = "no grammar is known (give --dataset)"


class ProbeKind(Kind, ABC):
    """Settings of a probe.

    A result is a frozen dataclass; `results` are those of the parts that were measured, such as
    "network" and "bayes".

    Attributes:
        usual: Whether it is measured where no probe is named.
        rank: Its place among the others, the usual ones first; those of one rank by name.
        one_sample: Whether it can look into one stored sample, `probe.sample`.
        along: Whether it can be followed over the checkpoints of a run.
        reads: The settings beside its own that results depend on, `section.key` or a whole section.
            When none of these changes what was measured is still true.
        captions: Of the figures that the page of a report shows, by their files' names.
    """

    role: ClassVar[str] = "probe"
    usual: ClassVar[bool] = False
    rank: ClassVar[int] = 100
    one_sample: ClassVar[bool] = False
    along: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("probe", "sampler", "sampling")
    captions: ClassVar[Mapping[str, Caption]] = {}

    def unfit(self, subject: "Subject") -> str | None:
        """Return why the probe does not apply to a subject; None where it does."""
        return None

    def cost(self, subject: "Subject") -> str:
        """Return what one noise level costs, in words; empty where it is not worth a word."""
        return ""

    @abstractmethod
    def measure(self, subject: "Subject", keep: "Keep") -> Any:
        """Measure a subject; nothing is drawn, nor written but through `keep`.

        Args:
            subject: The denoiser, its inputs, and the oracles that are known.
            keep: Stores each part, or finds it stored.

        Returns:
            Part -> result; or one result, which is the network's.
        """

    def glance(self, subject: "Subject", keep: "Keep") -> "Mapping[str, Any] | None":
        """Measure what is followed along training where nobody asked for this probe by name.

        It is done for every checkpoint, and so must be quick. Parts other than "network" are
        measured once: they must not depend on the network.

        Returns:
            Part -> result; None where there is nothing quick to measure.
        """
        return None

    def followed(self, summary: Mapping[str, Any], subject: "Subject") -> dict[str, Any]:
        """Return the numbers in a summary that are followed along training: name -> estimate."""
        return {}

    def summary(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Return the headline numbers of what `measure` or `glance` returned.

        By default part -> field -> estimate, of every field that is one number with its error.
        """
        from diffprobe.probing.headlines import numbers_with_errors

        return {part: numbers_with_errors(result) for part, result in results.items()}

    def lines(self, summary: Mapping[str, Any], subject: "Subject") -> list[str]:
        """Return a summary in words."""
        from diffprobe.probing.headlines import in_words

        return [self.name, *in_words(summary)]

    def draw(self, results: Mapping[str, Any], subject: "Subject", folder: Path) -> None:
        """Store figures in `folder`; by default none."""
