"""Regression on images whose first cells are given."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.settings import check_positive
from diffprobe.training.objectives import ObjectiveKind

if TYPE_CHECKING:
    from diffprobe.datasets.symbol_images import SymbolImages
    from diffprobe.training.objective import Objective


@dataclass(frozen=True)
class GivenConfig(ObjectiveKind):
    """As `denoising`, but of a `share` of the images the first `cells` cells are given.

    A given cell is at the cleanest noise level; the others share a level uniform in t. So a network
    learns to complete words, such as keys by their values; it must take a level for each cell. The
    validation loss is that of images of which nothing is given.
    """

    name: ClassVar[str] = "given"
    by_cell: ClassVar[bool] = True
    cells: int = 1
    share: float = 0.5

    def __post_init__(self) -> None:
        check_positive(cells=self.cells)
        if not 0 <= self.share <= 1:
            raise UsageError(f"share must lie in [0, 1], not {self.share}")

    def build(self, scheduler: Any, dataset: "SymbolImages") -> "Objective":
        """Return the objective; see `ObjectiveKind.build`.

        Raises:
            UsageError: If no cell is left to learn.
        """
        from diffprobe.training.objective import GivenObjective

        if self.cells >= dataset.cell_grid.cells:
            raise UsageError(
                f"objective.cells = {self.cells} leaves nothing to learn of images of "
                f"{dataset.cell_grid.cells} cells"
            )
        return GivenObjective(scheduler, dataset.cell_grid, self.cells, self.share)
