"""What a budget of function evaluations buys: the frontier of a pool, and samplers tuned to it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
