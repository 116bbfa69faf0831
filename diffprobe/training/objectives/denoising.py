"""Regression on the noise, the image or the velocity."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from diffprobe.foundations.errors import UsageError
from diffprobe.training.objectives import ObjectiveKind

if TYPE_CHECKING:
    from torch import Tensor

    from diffprobe.datasets.symbol_images import SymbolImages
    from diffprobe.training.objective import Objective
    from diffprobe.training.penalties import Penalty


@dataclass(frozen=True)
class DenoisingConfig(ObjectiveKind):
    """Mean squared error of what the network predicts, at noise levels drawn at random.

    `levels` are drawn uniformly in t ("uniform") or in log-SNR ("log-snr"), with logit(t / T)
    normal of `level_mean` and `level_scale` ("logit-normal"), or in log-SNR by the weight that the
    grammar has there ("grammar"). `weighting` "min-snr" counts the error of x0_hat by the SNR, up
    to `min_snr_gamma`. Two penalties may be added, times their weights: `score_variance` on scores
    that are too smooth, `from_product` on denoisers that use less of the grammar than there is.
    `by_cell` draws a level for each cell instead of one for the image; the network must take them.
    The validation loss is the plain error, levels spread evenly in t, whatever is set here.
    """

    name: ClassVar[str] = "denoising"
    levels: Literal["uniform", "log-snr", "logit-normal", "grammar"] = "uniform"
    level_mean: float = 0.0
    level_scale: float = 1.0
    weighting: Literal["plain", "min-snr"] = "plain"
    min_snr_gamma: float = 5.0
    score_variance: float = 0.0
    from_product: float = 0.0
    by_cell: bool = False

    def __post_init__(self) -> None:
        for name in ("level_scale", "min_snr_gamma"):
            if not 0 < (value := getattr(self, name)) < float("inf"):
                raise UsageError(f"{name} must be positive, not {value}")
        for name in ("score_variance", "from_product"):
            if not 0 <= (value := getattr(self, name)) < float("inf"):
                raise UsageError(f"{name} must not be negative, but {value}")

    def build(self, scheduler: Any, dataset: "SymbolImages") -> "Objective":
        """Return the objective; see `ObjectiveKind.build`."""
        from diffprobe.training.objective import Objective

        return Objective(
            scheduler,
            self._shares(scheduler, dataset),
            self.min_snr_gamma if self.weighting == "min-snr" else None,
            self._penalties(scheduler, dataset),
            dataset.cell_grid if self.by_cell else None,
        )

    def _shares(self, scheduler: Any, dataset: "SymbolImages") -> "Tensor | None":
        from diffprobe.training import level_shares

        product = scheduler.alphas_cumprod.double()
        if self.levels == "log-snr":
            return level_shares.log_snr_shares(product.logit())
        if self.levels == "logit-normal":
            return level_shares.logit_normal_shares(len(product), self.level_mean, self.level_scale)
        if self.levels == "grammar":
            return level_shares.grammar_shares(dataset, scheduler)
        return None

    def _penalties(self, scheduler: Any, dataset: "SymbolImages") -> "dict[Penalty, float]":
        from diffprobe.training.penalties import FromProduct, Penalty, ScoreVariance

        found: dict[Penalty, float] = {}
        if self.score_variance:
            found[ScoreVariance()] = self.score_variance
        if self.from_product:
            found[FromProduct(dataset, scheduler)] = self.from_product
        return found
