"""The excess risk of SGD on one-hot data, exactly.

A sample shows one coordinate i, drawn with probability p_i: x = mu_i e_i, y = mu_i w_i + xi, noise
of variance sigma². SGD with the constant learning rate eta takes the error e_i of a coordinate
that is shown to q_i e_i + eta mu_i xi, where q_i = 1 - eta mu_i², and starts from e_i = -w_i. Of N
samples n_i show coordinate i; each is seen once in an epoch, in an order drawn anew. The mean of
e_i² after K epochs, over noise and orders, is

    q^2nK w² + (eta mu sigma)² [(1 - q^nK)² / n (1 - q)² + n (m_2 - m_1²) (1 - q^2nK) / (1 - q^2n)]

with m_1 = (1 - q^n) / n (1 - q) and m_2 = (1 - q^2n) / n (1 - q²), the means of q^j and q^2j over
the places j of a sample in an epoch: what is learned of one sample over all epochs has the mean
(1 - q^nK) / n (1 - q), and each epoch's order adds its own variance. n_i is binomial, and the mean
over it a sum. The excess risk is the sum of p_i mu_i² times this.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import float64
from numpy.typing import NDArray

Array = NDArray[float64]
FAR = 8.0  # standard deviations of n_i; what lies beyond has a probability below 1e-14
PER_DECADE = 4  # learning rates that are tried before the best is looked for among them
SMALL = 0.5  # a step 1 - q below which its powers are taken by logarithm, for precision


@dataclass(frozen=True, eq=False)
class OneHot:
    """A linear regression that shows one coordinate at a time.

    Attributes:
        p: (d,) how often each is shown; they sum to 1.
        square: (d,) mu², the largest 1.
        target: (d,) w².
        noise: sigma², of labels.
    """

    p: Array
    square: Array
    target: Array
    noise: float

    @classmethod
    def drawn(
        cls, dimension: int, popularity: float, scale: float, noise: float, seed: int
    ) -> "OneHot":
        """Return a seed's world: p_i ~ i^-popularity, mu_i² = i^-scale, w_i standard normal."""
        i = np.arange(1, dimension + 1, dtype=np.float64)
        p = i**-popularity
        w = np.random.default_rng(seed).standard_normal(dimension)
        return cls(p / p.sum(), i**-scale, w**2, noise)

    def one_pass(self, samples: float, rate: float) -> float:
        """Return the excess risk after one pass over fresh samples.

        Args:
            samples: How many; the formula has a value between whole numbers, too.
            rate: eta, between 0 and 2.
        """
        step = rate * self.square
        # The mean of q^2n over the binomial n is (1 - p + p q²)^N.
        left = np.exp(samples * np.log1p(-self.p * step * (2 - step)))
        spread = rate**2 * self.square * self.noise * (1 - left) / (step * (2 - step))
        return float(self.p * self.square @ (left * self.target + spread))

    def many_passes(self, samples: int, epochs: int, rate: float) -> float:
        """Return the excess risk after `epochs` passes over the same samples."""
        step = rate * self.square
        kept = np.abs(1 - step) ** (2.0 * epochs)
        left = np.exp(samples * np.log1p(-self.p * (1 - kept)))
        total = float(self.p * self.square @ (left * self.target))
        if self.noise:
            pairs, counts = np.unique([self.p, self.square], axis=1, return_counts=True)
            for (p, square), count in zip(pairs.T, counts, strict=True):
                spread = (
                    _spread(n := _seen(samples, p), epochs, rate * square) * _chance(n, samples, p)
                ).sum()
                total += count * p * square * rate**2 * square * self.noise * float(spread)
        return total

    def best(self, samples: int, epochs: int) -> tuple[float, float]:
        """Return the least excess risk over learning rates, and the rate."""
        return _least(lambda rate: self.many_passes(samples, epochs, rate), samples * epochs)

    def best_of_one_pass(self, samples: float) -> float:
        """Return the least excess risk of one pass over learning rates."""
        return _least(lambda rate: self.one_pass(samples, rate), samples)[0]

    def reuse(self, samples: int, epochs: int) -> float:
        """Return E(K, N): one pass over E N samples has the risk of K passes over N."""
        from scipy.optimize import brentq

        if epochs == 1:
            return 1.0
        wanted = math.log(self.best(samples, epochs)[0])

        def above(log_factor: float) -> float:
            return math.log(self.best_of_one_pass(samples * math.exp(log_factor))) - wanted

        low, high = 0.0, math.log(epochs)
        while above(low) < 0:
            low -= 1.0
        while above(high) > 0:
            high += 1.0
        return math.exp(brentq(above, low, high, xtol=1e-6))


def _least(risk: Callable[[float], float], seen: float) -> tuple[float, float]:
    """The least risk over learning rates below 2, by a grid and then between its neighbours."""
    from scipy.optimize import minimize_scalar

    low, high = math.log(1e-2 / seen), math.log(2 * (1 - 1e-9))
    grid = np.linspace(low, high, math.ceil(PER_DECADE * (high - low) / math.log(10)))
    risks = [risk(math.exp(each)) for each in grid]
    i = int(np.argmin(risks))
    bounds = grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)]
    found = minimize_scalar(
        lambda each: risk(math.exp(each)), bounds=bounds, method="bounded", options={"xatol": 1e-6}
    )
    return min((float(found.fun), math.exp(found.x)), (risks[i], math.exp(grid[i])))


def _seen(samples: int, p: float) -> Array:
    """How often a coordinate may be seen, but for what is next to impossible; 0 is left out."""
    mean, deviation = samples * p, math.sqrt(samples * p * (1 - p))
    low, high = mean - FAR * deviation, mean + FAR * deviation + FAR
    return np.arange(max(1, math.floor(low)), min(samples, math.ceil(high)) + 1, dtype=np.float64)


def _chance(n: Array, samples: int, p: float) -> Array:
    from scipy.stats import binom

    found: Array = binom.pmf(n, samples, p)
    return found


def _spread(n: Array, epochs: int, step: float) -> Array:
    """What stands in square brackets in the formula of this module, q = 1 - step."""
    all_epochs = _fallen(step, n * epochs) ** 2 / (n * step**2)
    orders = _fallen(step, 2 * n) / (step * (2 - step)) - _fallen(step, n) ** 2 / (n * step**2)
    return all_epochs + orders * _fallen(step, 2 * n * epochs) / _fallen(step, 2 * n)


def _fallen(step: float, n: Array) -> Array:
    """1 - (1 - step)^n."""
    if step < SMALL:
        found: Array = -np.expm1(n * math.log1p(-step))
        return found
    return 1 - np.power(1 - step, n)
