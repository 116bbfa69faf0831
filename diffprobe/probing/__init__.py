"""What probes share: the subject, its inputs and regions, the Jacobian, and how all are measured.

`open_subject` puts anybody's denoiser beside the oracles that can be known; `run_probes` measures
it, writes the numbers and draws the figures. The probes themselves are in `diffprobe.probes`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
