"""How often the interval of an area under the ROC curve covers it, over populations and sizes.

Prints the share of repeats that cover, nominally 95 %, by sizes of the classes; repeats may be
given, 1,000 by default. Beside them, how often the test at 5 % rejects where the area is a half.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # where populations are listed

from score_populations import POPULATIONS

from diffprobe.statistics import FEWEST, auroc

SIZES = ((20, 20), (20, 50), (50, 20), (20, 300), (300, 30), (40, 80), (300, 700))


def main(repeats: int = 1000) -> None:
    print(f"{repeats:,} repeats; at least {FEWEST} of each class; columns: positives/negatives")
    print(f"{'':40}{'area':>6}" + "".join(f"{f'{m}/{n}':>9}" for m, n in SIZES))
    rejected: dict[str, list[float]] = {}
    for name, (first, second, truth) in POPULATIONS.items():
        row = f"{name:40}{truth:6.3f}"
        for m, n in SIZES:
            random = torch.Generator().manual_seed(0)
            positive = torch.arange(m + n) < m
            covered = wrong = 0
            for _ in range(repeats):
                scores = torch.cat([first(m, random), second(n, random)])
                found = auroc(scores, positive)
                covered += found.low <= truth <= found.high
                wrong += found.p < 0.05
            row += f"{covered / repeats:9.1%}"
            if truth == 0.5:
                rejected.setdefault(name, []).append(wrong / repeats)
        print(row, flush=True)
    print("rejected at 5 %")
    for name, shares in rejected.items():
        print(f"{name:46}" + "".join(f"{share:9.1%}" for share in shares))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*map(int, sys.argv[1:]))
