"""Cells that are cleaned one after another."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from diffprobe.foundations.settings import check_share
from diffprobe.sampling.samplers import SamplerKind

if TYPE_CHECKING:
    from diffprobe.models.noise_schedule import NoiseSchedule
    from diffprobe.sampling.paths import NoisePath


@dataclass(frozen=True)
class SequentialConfig(SamplerKind):
    """Cells, or rows of them, cleaned one after another, each by DDIM on a schedule of its own.

    At `overlap` 0 a cell begins where the one before is clean, at 1 all are cleaned together. For
    networks with noise levels by cell, and oracles (Spatial Reasoning Models, arXiv:2502.21075).
    """

    name: ClassVar[str] = "sequential"
    flows: ClassVar[bool] = True
    order: Literal["cells", "rows"] = "cells"
    overlap: float = 0.0

    def __post_init__(self) -> None:
        check_share(overlap=self.overlap)

    def path(self, schedule: "NoiseSchedule", steps: int) -> "NoisePath":
        """Return its path; see `SamplerKind.path`."""
        from diffprobe.sampling.sequential_path import SequentialPath

        return SequentialPath(schedule, steps, by_rows=self.order == "rows", overlap=self.overlap)
