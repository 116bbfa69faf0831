"""AdamW."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffprobe.foundations.errors import UsageError
from diffprobe.training.optimizers import OptimizerKind

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@dataclass(frozen=True)
class AdamWConfig(OptimizerKind):
    """Adam with decoupled weight decay (Loshchilov & Hutter, arXiv:1711.05101)."""

    name: ClassVar[str] = "adamw"
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if not 0 <= self.weight_decay < float("inf"):
            raise UsageError(f"weight_decay must not be negative, but {self.weight_decay}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UsageError(f"betas must lie in [0, 1), not {self.betas}")
        if not 0 < self.eps < float("inf"):
            raise UsageError(f"eps must be positive, not {self.eps}")

    def build(self, parameters: "Iterable[nn.Parameter]") -> "Optimizer":
        """Return the optimizer; see `OptimizerKind.build`."""
        from torch.optim import AdamW

        return AdamW(
            parameters,
            lr=1.0,
            weight_decay=self.weight_decay,
            betas=self.betas,
            eps=self.eps,
            fused=True,
        )
