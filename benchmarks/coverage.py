"""How often 95 % intervals cover the truth, for everything that prints one: one table.

    python benchmarks/coverage.py [PART …] [--scale X]

Coverage should lie between 93 and 97 %; rows whose coverage is lower than chance explains are
marked LOW, higher ones "above". Above by nature are numbers that do not vary (the product oracle is
local on every input), intervals at the resolution with which a share is told (± 0.001), and
estimates at an end, such as a rate of 1 and what follows from it. `--scale 0.1` takes pools of a
tenth and, where repeats are what costs time, a tenth of them.
"""

import argparse
import time
from collections.abc import Callable, Iterator

import torch
from coverage_parts import (
    attribution,
    by_verdict,
    conditional_information,
    conditioner,
    frontier,
    hidden_states,
    laws,
    locality,
    placement,
    proportions,
    reuse,
    samples,
    sharpness,
    two_layer,
    worlds,
)
from coverage_parts.table import HEADER, Row, summary
from reading import corrected

REPEATS = 1000
FEWEST = 400  # repeats of what is cheap to repeat


def _repeats(scale: float) -> int:
    return max(FEWEST, int(REPEATS * scale))


def _locality(scale: float) -> Iterator[Row]:
    for name in worlds.NAMES:
        yield from locality.rows(worlds.world(name, scale), _repeats(scale))


def _probes(scale: float) -> Iterator[Row]:
    for name in worlds.NAMES:
        world = worlds.world(name, scale)
        yield from locality.others(world, _repeats(scale))
        yield from locality.reused(world, _repeats(scale))


def _placement(scale: float) -> Iterator[Row]:
    for name in ("parity 6", "parity 8", "brackets"):
        world = worlds.world(name, scale)
        yield from placement.rows(world, int(REPEATS * scale))
        words = world.images.grammar.count() // 2
        yield from placement.memory(world, words, int(REPEATS * scale))


def _attribution(scale: float) -> Iterator[Row]:
    for name in ("parity 6", "brackets"):
        world = worlds.world(name, scale)
        yield from attribution.rows(world, max(500, int(2000 * scale)), _repeats(scale))


def _conditional_information(scale: float) -> Iterator[Row]:
    for name in ("parity 6", "brackets"):
        yield from conditional_information.rows(worlds.world(name, scale), _repeats(scale))


def _by_verdict(scale: float) -> Iterator[Row]:
    for name in ("parity 6", "brackets"):
        world = worlds.world(name, scale)
        yield from by_verdict.rows(world, max(1000, int(4000 * scale)), _repeats(scale))


def _hidden_states(scale: float) -> Iterator[Row]:
    yield from hidden_states.rows(int(REPEATS * scale / 4))


def _reading(scale: float) -> Iterator[Row]:
    rounds = _repeats(scale)
    for name, covered, of_kind in corrected(rounds):
        yield Row.counted("corrected rates", f"grammatical, {name}", covered, rounds)
        yield Row.counted("corrected rates", f"one kind, {name}", of_kind, rounds)


PARTS: dict[str, Callable[[float], Iterator[Row]]] = {
    "locality": _locality,
    "probes": _probes,
    "placement": _placement,
    "attribution": _attribution,
    "conditional-information": _conditional_information,
    "conditioner": lambda scale: conditioner.rows(max(1000, int(4000 * scale)), _repeats(scale)),
    "by-verdict": _by_verdict,
    "hidden-states": _hidden_states,
    "two-layer": lambda scale: two_layer.rows(_repeats(scale)),
    "sharpness": lambda scale: sharpness.rows(_repeats(scale)),
    "laws": lambda scale: laws.rows(_repeats(scale)),
    "reuse": lambda scale: reuse.rows(_repeats(scale)),
    "proportions": lambda scale: proportions.rows(_repeats(scale)),
    "frontier": lambda scale: frontier.rows(_repeats(scale)),
    "samples": samples.rows,
    "reading": _reading,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--scale", type=float, default=1.0)
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no part {unknown.pop()!r}: there are {', '.join(PARTS)}")
    begun = time.monotonic()
    found = []
    print(HEADER, flush=True)
    for part in asked.parts or PARTS:
        for row in PARTS[part](asked.scale):
            found.append(row)
            print(row, flush=True)
    print()
    print("\n".join(summary(found)))
    told = [row for row in found if row.repeats]
    low = [row for row in told if str(row).rstrip().endswith("LOW")]
    print(
        f"{len(told)} numbers; {len(low)} covered less often than 93 %, by more than chance; "
        f"{time.monotonic() - begun:.0f} s"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
