"""Training: one loop on accelerate, and the run folder it fills."""

from diffprobe.training.loop import train
from diffprobe.training.run_folder import RunFolder

__all__ = ["RunFolder", "train"]
