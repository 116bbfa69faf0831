"""Probes: how local is a denoiser, where, at which noise level, and since when.

One module per probe, each with `measure(...)` and `plot(result, ax)`:

    locality      LDR over noise levels, and the dependence matrix
    attribution   integrated gradients of one cell's output
    dynamics      LDR and the rates of samples along training

`probe_checkpoint` runs them all on a checkpoint and writes numbers and figures.
"""

from diffprobe.probes.suite import ProbeResults, probe_checkpoint

__all__ = ["ProbeResults", "probe_checkpoint"]
