"""Training: one loop on accelerate over exchangeable parts, and the run folder it fills."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
