"""Probes: how local is a denoiser, where, at which noise level, and since when.

One module per probe, each with `measure(...)` and `plot(result, ax)`:

    locality        LDR over noise levels, dependence matrix, decay with distance
    placement       gamma, mu, and the nats of the grammar that are missed
    attribution     attribution maps of one region's output, and how methods agree
    sensitivity     one region's output, every input pixel
    spectrum        singular values and vectors of the Jacobian
    intervention    redraw noise or symbol in one cell
    detectors       tell hallucinated samples from valid ones along the sampling path
    hidden_states   what the layers know
    two_layer       the theory's network, neuron by neuron
    dynamics        the headline numbers along training

`open_subject` puts anybody's denoiser beside the oracles that can be known; `run_probes` measures
it, writes the numbers and draws the figures.
"""

from diffprobe.probes.subject import Subject, open_subject, subject_of
from diffprobe.probes.suite import PROBES, ProbeResults, run_probes

__all__ = ["PROBES", "ProbeResults", "Subject", "open_subject", "run_probes", "subject_of"]
