"""The sums and products an engine's recursion can be run with.

A grammar's recursion is written once, in terms of `mul`, `sum` and `weigh`. What it computes
depends on the semiring: the log-partition function, the best word, an exact count, or an exact
sample. The first and the last follow a weighted grammar's distribution; to the others it is a set.
"""

import math
from typing import Any, Protocol

import torch
from torch import Tensor

# Stands for log 0. Finite, because the gradient of logsumexp over all -inf is not a number;
# 64 cells of it still fit float32.
LOG_ZERO = -1e30


class Semiring(Protocol):
    """`mul`, `sum` and `weigh` over tensors whose first axis is the batch.

    Attributes:
        zero, one: Neutral in `sum` and in `mul`.
        idempotent: Whether a + a = a, so that nothing depends on how often a word is met.
        power: The exponent of the grammar's weights; 0 takes each word once.
    """

    zero: float
    one: float
    idempotent: bool
    power: float | Tensor

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        """Combine independent parts; `a` and `b` broadcast."""

    def sum(self, x: Tensor, dim: int) -> Tensor:
        """Combine alternatives along `dim`."""

    def weigh(self, x: Tensor, log_weights: Tensor | None) -> Tensor:
        """Count in the weights of alternatives, broadcast to `x`; None stands for ones."""


class LogSemiring:
    """Sums of probabilities in log space; its gradient is the posterior marginal.

    Args:
        power: The exponent of the grammar's weights; 0 ignores them. The derivative of log Z by
            it, at 1, is a word's expected log weight.
    """

    zero, one = LOG_ZERO, 0.0
    idempotent = False

    def __init__(self, power: float | Tensor = 1.0) -> None:
        self.power = power

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        """Add log probabilities."""
        return a + b

    def sum(self, x: Tensor, dim: int) -> Tensor:
        """Add probabilities in log space."""
        return torch.logsumexp(x, dim)

    def weigh(self, x: Tensor, log_weights: Tensor | None) -> Tensor:
        """Multiply by the weights to the `power`."""
        return x if log_weights is None else x + self.power * log_weights.to(x)


class MaxSemiring(LogSemiring):
    """The best score of any word, whatever its weight; the gradient is one best word."""

    idempotent = True

    def __init__(self) -> None:
        super().__init__(power=0.0)

    def sum(self, x: Tensor, dim: int) -> Tensor:
        """Keep the best alternative; of equal ones, one."""
        return x.max(dim).values


class AnyBestSemiring(MaxSemiring):
    """The same, with a gradient that is positive on what any best word contains, and 0 elsewhere.

    Backward through a maximum marks each alternative that attains it. A gradient shared by them, as
    that of `torch.amax`, halves with each choice: along a long word it ends below any tolerance.
    """

    def sum(self, x: Tensor, dim: int) -> Tensor:
        """Keep the best alternative; mark all equal ones on the way back."""
        result: Tensor = _MarkedMax.apply(x, dim)  # type: ignore[no-untyped-call]
        return result


class _MarkedMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        best = x.amax(dim, keepdim=True)
        ctx.save_for_backward(x == best)
        ctx.dim = dim
        return best.squeeze(dim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (attains,) = ctx.saved_tensors
        # Marks, not counts: of those there are too many for any float.
        marked = (grads[0] > 0).unsqueeze(ctx.dim) & attains
        return marked.to(grads[0]), None


class SamplingSemiring(LogSemiring):
    """Log-space sums whose gradient is one exact sample instead of the marginal.

    Backward through logsumexp hands the gradient to each alternative in proportion to its
    posterior probability; drawing one alternative from those probabilities instead walks the
    recursion top-down and lands on one word (Rush, "Torch-Struct", arXiv:2002.00876, section 4).
    """

    def __init__(self, generator: torch.Generator, power: float = 1.0) -> None:
        super().__init__(power)
        self.generator = generator

    def sum(self, x: Tensor, dim: int) -> Tensor:
        """Add in log space; draw one alternative on the way back."""
        result: Tensor = _SampledLogSumExp.apply(  # type: ignore[no-untyped-call]
            x.movedim(dim, -1), self.generator
        )
        return result


class _SampledLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, generator: torch.Generator) -> Tensor:
        ctx.save_for_backward(x)
        ctx.generator = generator
        return torch.logsumexp(x, -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        # Gumbel-max: the argmax of scores plus Gumbel noise is a draw from their softmax.
        # Float64, because a float32 uniform is 0 once in 16 million draws.
        uniform = torch.rand(x.shape, generator=ctx.generator, dtype=torch.float64, device=x.device)
        chosen = (x.double() - torch.log(-torch.log(uniform))).argmax(-1, keepdim=True)
        one_hot = torch.zeros_like(x).scatter_(-1, chosen, 1.0)
        return one_hot * grads[0].unsqueeze(-1), None


class RealSemiring:
    """Sums of signed numbers over the set, whatever the weights of its words."""

    zero, one = 0.0, 1.0
    idempotent = False
    power: float | Tensor = 0.0

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        """Multiply."""
        return a * b

    def sum(self, x: Tensor, dim: int) -> Tensor:
        """Add."""
        return x.sum(dim)

    def weigh(self, x: Tensor, log_weights: Tensor | None) -> Tensor:
        """Return `x`: a word counts once."""
        return x


class ModularSemiring:
    """Integer arithmetic modulo one prime per batch row, for exact counts by remainders."""

    zero, one = 0.0, 1.0
    idempotent = False
    power: float | Tensor = 0.0

    def __init__(self, primes: Tensor) -> None:
        self.primes = primes

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        """Multiply modulo each row's prime."""
        return self._reduce(a * b)

    def sum(self, x: Tensor, dim: int) -> Tensor:
        """Add modulo each row's prime."""
        return self._reduce(x.sum(dim))

    def weigh(self, x: Tensor, log_weights: Tensor | None) -> Tensor:
        """Return `x`: a word counts once."""
        return x

    def _reduce(self, x: Tensor) -> Tensor:
        return x % self.primes.reshape(-1, *[1] * (x.ndim - 1))


def primes_beyond(bound: int) -> list[int]:
    """Return primes just under 2**31 whose product exceeds `bound`."""
    found: list[int] = []
    candidate, product = 2**31 - 1, 1
    while product <= bound:
        if _is_prime(candidate):
            found.append(candidate)
            product *= candidate
        candidate -= 2
    return found


def _is_prime(n: int) -> bool:
    # Miller-Rabin with these bases is exact below 3.2e9.
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7):
        x = pow(base, odd, n)
        if x in (1, n - 1):
            continue
        if not any((x := x * x % n) == n - 1 for _ in range(twos - 1)):
            return False
    return True


def from_remainders(remainders: list[int], primes: list[int]) -> int:
    """Return the integer below the product of `primes` with these remainders.

    >>> from_remainders([2, 3], [3, 5])
    8
    """
    product = math.prod(primes)
    total = 0
    for remainder, prime in zip(remainders, primes, strict=True):
        rest = product // prime
        total += remainder * rest * pow(rest, -1, prime)
    return total % product
