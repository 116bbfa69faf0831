"""Images that are none: values that are not finite, or far from any picture's."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffprobe.datasets.stored_images import Pictures, pieces
from diffprobe.datasets.symbol_images import BEYOND

NAMED = 10  # images that are named


@dataclass(frozen=True)
class Broken:
    """Which of N images are none. They count as illegible, and no validator is shown them.

    Attributes:
        not_finite: (N,) bool, a value is NaN or infinite.
        out_of_range: (N,) bool, a finite value is beyond ±10.
    """

    not_finite: Tensor
    out_of_range: Tensor

    @classmethod
    def of(cls, images: Pictures) -> "Broken":
        """Look at images (N, C, H, W)."""
        # Made before the pieces are, so that these leave no holes in the memory.
        found = cls(*torch.zeros(2, len(images), dtype=torch.bool))
        first = 0
        for piece in pieces(images):
            values, last = piece.flatten(1), first + len(piece)
            finite = values.isfinite()
            found.not_finite[first:last] = ~finite.all(1)
            found.out_of_range[first:last] = (finite & (values.abs() > BEYOND)).any(1)
            first = last
        return found

    def summary(self) -> dict[str, Any]:
        """Return how many they are, and the first."""
        return {
            "not_finite": int(self.not_finite.sum()),
            "out_of_range": int(self.out_of_range.sum()),
            "broken": {
                "not_finite": _first(self.not_finite),
                "out_of_range": _first(self.out_of_range),
            },
        }

    def lines(self, fate: str = "count as illegible") -> list[str]:
        """Return how many they are, the first, and what becomes of them, in words."""
        return [
            f"{n:,} of {len(found):,} samples {what} and {fate}: "
            f"{', '.join(map(str, _first(found)))}{', …' * (n > NAMED)}."
            for found, what in (
                (self.not_finite, "hold values that are not finite (NaN or infinite)"),
                (self.out_of_range, f"hold values beyond ±{BEYOND:g}"),
            )
            if (n := int(found.sum()))
        ]


def _first(found: Tensor) -> list[int]:
    indices: list[int] = found.nonzero()[:NAMED, 0].tolist()
    return indices
