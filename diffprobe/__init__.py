"""diffprobe: a diffusion hallucination probe toolkit."""

__version__ = "0.1.0"
