"""Rows of the table: what an interval is of, how often one was told, and how often it covered."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffprobe.foundations.intervals import Interval

LOW, HIGH = 0.93, 0.97  # where the coverage of a 95 % interval should lie
FLOOR = 1.2e-3  # half widths that are hardly more than the resolution of a share


@dataclass(frozen=True)
class Row:
    """Coverage of one number in one world.

    Attributes:
        world: Language and level.
        what: The number.
        truth: What the intervals should contain.
        told: Share of the repeats that told an interval.
        covered: Share of those that contain the truth.
        repeats: How many told one.
        half: Mean half width.
        note: Why coverage may be above nominal.
    """

    world: str
    what: str
    truth: float
    told: float
    covered: float
    repeats: int
    half: float
    note: str = ""

    @classmethod
    def of(
        cls, world: str, what: str, found: Interval, truth: Tensor | float, **more: str
    ) -> "Row":
        told = found.low.isfinite()
        half = (found.high - found.low)[told] / 2
        return cls(
            world,
            what,
            float(truth),
            told.double().mean().item(),
            found.contains(truth)[told].double().mean().item(),
            int(told.sum()),
            half.mean().item(),
            **more,
        )

    @classmethod
    def counted(
        cls, world: str, what: str, covered: int, repeats: int, asked: int | None = None
    ) -> "Row":
        share = covered / repeats if repeats else math.nan
        told = repeats / (asked or repeats or 1)
        return cls(world, what, math.nan, told, share, repeats, math.nan)

    def __str__(self) -> str:
        if self.repeats == 0:
            return f"{self.world:35} {self.what:40} {self.truth:9.3f}   no interval told"
        error = math.sqrt(max(self.covered * (1 - self.covered), 1e-9) / self.repeats)
        low, high = self.covered < LOW - 2 * error, self.covered > HIGH + 2 * error
        mark = "LOW" if low else "above" if high else ""
        number = f"{self.truth:9.3f} ± {self.half:<7.3f}"
        if math.isnan(self.truth):
            number = " " * len(number)
        return (
            f"{self.world:35} {self.what:40} {number} "
            f"{self.covered:6.1%} ± {error:4.1%} of {self.repeats:5,} {self.told:5.0%} told  {mark}"
            f"{' ' + self.note if self.note else ''}"
        ).rstrip()


def summary(rows: list[Row]) -> list[str]:
    """Return a line for each number: coverage over all worlds and levels, and where it is least.

    Intervals at the resolution of a share, which cover more by nature, are counted apart.
    """
    found = [f"{'number':48} {'told at':>7}  {'coverage':16}  least covered"]
    for what in dict.fromkeys(row.what for row in rows):
        told = [row for row in rows if row.what == what and row.repeats]
        free = [row for row in told if not row.half <= FLOOR]
        if not free:
            found.append(f"{what:48} {len(told):7}  within ± 0.001")
            continue
        least = min(free, key=lambda row: row.covered)
        most = max(row.covered for row in free)
        floor = f" ({len(told) - len(free)} within ± 0.001)" if len(free) < len(told) else ""
        found.append(
            f"{what:48} {len(free):7}  {least.covered:6.1%} to {most:6.1%}  {least.world}{floor}"
        )
    return found


HEADER = f"{'where':35} {'number':40} {'truth':>9} ± half    covered"


def picks(pool: int, repeats: int, n: int, seed: int = 0) -> Tensor:
    """Return which inputs of a pool each repeat draws, with replacement: (repeats, n) long."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(pool, (repeats, n), generator=random)
