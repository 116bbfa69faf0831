"""Sets of budgets at which a sampler is tuned."""

from collections.abc import Callable

from diffprobe.foundations.errors import UsageError, unknown_name

FEWEST_STEPS = 2  # the way of one step goes from noise to image, whatever the numbers


def budgets(name: str, most: int) -> list[int]:
    """Return numbers of steps from 2 to `most`, in order.

    Args:
        name: "exponential" (each twice the one before), "uniform" (as many, evenly spaced) or
            "dense" (every number).
        most: The last.

    Raises:
        UsageError: If there is no such set, or `most` is too few.

    >>> budgets("exponential", 16), budgets("uniform", 16)
    ([2, 4, 8, 16], [2, 7, 11, 16])
    >>> len(budgets("dense", 16)), budgets("exponential", 20)
    (15, [2, 4, 8, 16, 20])
    """
    if name not in _SETS:
        raise unknown_name("set of budgets", name, _SETS)
    if most < FEWEST_STEPS:
        raise UsageError(f"budgets go from {FEWEST_STEPS} steps up, and {most} are the most")
    return _SETS[name](most)


def _exponential(most: int) -> list[int]:
    powers = [2**i for i in range(1, most.bit_length()) if 2**i < most]
    return [*powers, most]


def _uniform(most: int) -> list[int]:
    n = len(_exponential(most))
    gap = (most - FEWEST_STEPS) / max(1, n - 1)
    return list(dict.fromkeys(round(FEWEST_STEPS + i * gap) for i in range(n)))


def _dense(most: int) -> list[int]:
    return list(range(FEWEST_STEPS, most + 1))


_SETS: dict[str, Callable[[int], list[int]]] = {
    "exponential": _exponential,
    "uniform": _uniform,
    "dense": _dense,
}
