"""What the computations of label noise share: descent of many seeds at once, and what it reports.

Every step sees the whole training set with fresh noise on its labels and goes

    theta <- theta - eta m / (v^lambda + eps)      m, v averages of the gradient and its square

which is Adam at lambda = ½, RMSProp at that without momentum, and gradient descent at lambda = 0
without momentum. The noise adds to the gradient what has covariance in proportion to H, so that
among the minima of the loss it drives on towards those of small tr(Diag(H)^{1 − lambda}).

The learning rate is constant and falls to zero on a line over the last fifth: what noise does to
the weights themselves falls with it.

Reference:
    "Adam reduces a unique form of sharpness: theoretical insights near the minimizer manifold",
    arXiv:2511.02773.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diffprobe.foundations.errors import UsageError
from diffprobe.foundations.progress import Progress
from diffprobe.foundations.settings import check_positive
from diffprobe.studies.computations import Computation, Computed

if TYPE_CHECKING:
    from torch import Generator, Tensor

DECAY = 0.2  # the last share of the steps
LOOKS = 12  # along the way
AT_ONCE = 256  # steps whose noise is drawn together
EPSILON = 1e-8


@dataclass(frozen=True)
class LabelNoise(Computation):
    """Settings of the descent."""

    power: float = 0.5
    momentum: float = 0.9
    square_momentum: float = 0.999
    learning_rate: float = 2e-3
    noise: float = 1.0
    steps: int = 1000

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)
        for name in ("power", "momentum", "square_momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must lie in [0, 1), not {getattr(self, name)}")
        if not 0 < self.learning_rate < float("inf"):
            raise UsageError(f"learning_rate must be positive, not {self.learning_rate}")
        if not 0 <= self.noise < float("inf"):
            raise UsageError(f"noise must not be negative, but {self.noise}")

    @abstractmethod
    def problem(self, seeds: Sequence[int], device: str) -> "Problem":
        """Return what is descended in, for all seeds."""

    def compute(self, seeds: Sequence[int], device: str, progress: Progress) -> list[Computed]:
        """Return the numbers of each seed along the steps; see `Computation.compute`."""
        from diffprobe.foundations.seeding import generator

        problem = self.problem(seeds, device)
        random = [generator(seed, f"{self.name} noise") for seed in seeds]
        looks = looked_at(self.steps)
        found: list[dict[str, dict[int, float | None]]] = [
            {name: {} for name in self.measures} for _ in seeds
        ]
        steps = progress(range(1, self.steps + 1), desc=self.name, unit="step")
        for step in _descended(self, problem, random, steps):
            if step in looks:
                for name, values in problem.numbers().items():
                    for one, value in zip(found, values.tolist(), strict=True):
                        one[name][step] = value
        return list(found)


class Problem(ABC):
    """Weights theta (S, …) of S seeds, the gradient of their losses, and what is told of them.

    Attributes:
        theta: (S, …) the weights; changed in place.
        labels: (S, …) shape of the noise.
    """

    theta: "Tensor"
    labels: tuple[int, ...]

    @abstractmethod
    def gradient(self, noise: "Tensor") -> "Tensor":
        """Return that of ½ mean (f - y - noise)² over the labels: like theta."""

    @abstractmethod
    def numbers(self) -> "dict[str, Tensor]":
        """Return name -> (S,)."""


def looked_at(steps: int) -> set[int]:
    """Return at which steps numbers are told: evenly in log(step), the last among them.

    >>> sorted(looked_at(5))
    [1, 2, 3, 4, 5]
    """
    return {max(1, round(steps ** (i / (LOOKS - 1)))) for i in range(LOOKS)}


def _descended(
    settings: LabelNoise, problem: Problem, random: "Sequence[Generator]", steps: Any
) -> Any:
    """Yield each step when it is done."""
    import torch

    theta = problem.theta
    m, v = torch.zeros_like(theta), torch.zeros_like(theta)
    power, momentum, squares = settings.power, settings.momentum, settings.square_momentum
    begins = settings.steps * (1 - DECAY)
    noise = torch.empty(0)
    for step in steps:
        at = (step - 1) % AT_ONCE
        if at == 0:
            drawn = [torch.randn(AT_ONCE, *problem.labels[1:], generator=each) for each in random]
            noise = settings.noise * torch.stack(drawn, 1).to(theta)
        g = problem.gradient(noise[at])
        left = (settings.steps - step) / (settings.steps - begins)
        rate = settings.learning_rate * min(1.0, left)
        m.lerp_(g, 1 - momentum)
        if power == 0:
            theta.sub_(m, alpha=rate / (1 - momentum**step) if momentum else rate)
        else:
            v.lerp_(g.square(), 1 - squares)
            root = (v / (1 - squares**step)).pow_(power).add_(EPSILON)
            theta.addcdiv_(m, root, value=-rate / (1 - momentum**step))
        yield step
