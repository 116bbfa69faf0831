"""What several seeds say together: a mean with Student's interval, and the test of a threshold.

A seed is that of everything random in a run: weights, batches, the training set, samples, the
probes' inputs. So runs of different seeds are independent of each other, and their spread holds
both what differs between trainings and what each was measured with; the interval over n seeds is

    mean ± t s / sqrt(n),   s / sqrt(n) at least what the runs' own errors alone give

the latter, where they are told, since a few seeds may agree by chance, or all lie at the end of a
scale, where the spread between them says nothing.
"""

import math
from collections.abc import Mapping, Sequence

from diffprobe.foundations.estimates import Estimate


def over_seeds(
    values: Sequence[float], errors: Sequence[float | None] = (), *, share: bool = False
) -> Estimate:
    """Return the mean over seeds; without interval where there are fewer than two.

    Args:
        values: One of each seed.
        errors: The standard error of each, as its own run tells it; None where it tells none.
        share: Whether it lies between 0 and 1; the interval ends there then.

    >>> print(over_seeds([1.0, 2.0, 3.0]))
    2.000 ± 2.484
    """
    from scipy.special import stdtrit

    n = len(values)
    if n == 0:
        return Estimate(value=None, low=None, high=None, n=0)
    mean = math.fsum(values) / n
    if n < 2:
        return Estimate(value=mean, low=None, high=None, n=n)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n * (n - 1)))
    known = [e for e in errors if e is not None and math.isfinite(e)]
    own = math.sqrt(math.fsum(e * e for e in known)) / n if len(known) == n else 0.0
    error = max(spread, own)
    far = float(stdtrit(n - 1, 0.975)) * error
    low, high = mean - far, mean + far
    if share:
        low, high = max(0.0, low), min(1.0, high)
    return Estimate(value=mean, standard_error=error, low=low, high=high, n=n)


def p_value(found: Estimate, threshold: float) -> float:
    """Return the two-sided p-value of the threshold; 1 where no interval is told.

    >>> round(p_value(over_seeds([1.0, 2.0, 3.0]), 2.0), 3)
    1.0
    """
    from scipy.special import stdtr

    if found.value is None or found.standard_error is None:
        return 1.0
    if found.standard_error == 0:
        return 1.0  # equal to the last bit: nothing tells how sure that is
    t = abs(found.value - threshold) / found.standard_error
    return min(1.0, 2 * float(stdtr(found.n - 1, -t)))


def own_error(row: Mapping[str, float | None]) -> float | None:
    """Return the standard error of one run's number, from its interval where none is told."""
    if (error := row.get("standard_error")) is not None:
        return error
    low, high = row.get("low"), row.get("high")
    return None if low is None or high is None else (high - low) / (2 * 1.959963984540054)
