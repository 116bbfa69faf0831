"""The explorer of who listens to whom, in a notebook."""

from dataclasses import dataclass
from pathlib import Path

from diffprobe.foundations.errors import UsageError
from diffprobe.probing.suite import ProbeResults
from diffprobe.report.page import Framed, explorer_data, render_explorer


@dataclass(frozen=True, repr=False)
class Explorer(Framed):
    """What the probe of locality found, to explore: a page, which a notebook shows.

    Attributes:
        page: A whole HTML document that needs no network.
        folder: Of the probes that it shows.
    """

    page: str
    folder: Path

    def framed(self) -> str:
        """Return the page."""
        return self.page

    def __repr__(self) -> str:
        return f"<Explorer of {self.folder}>"


def explore(results: ProbeResults | str | Path) -> Explorer:
    """Show which cells each cell listens to, at any noise level and training step.

    Args:
        results: What `run_probes` returned for a run, or the folder of a run that was probed.

    Raises:
        UsageError: If the probe of locality has not measured it, or its regions are no boxes.
    """
    folder = results.folder.parent if isinstance(results, ProbeResults) else Path(results, "probes")
    data = explorer_data(folder)
    if data is None:
        raise UsageError(
            f"there is nothing to explore in {folder}: measure a run with the probe locality, "
            "whose regions are boxes, first"
        )
    return Explorer(render_explorer(data), folder)
